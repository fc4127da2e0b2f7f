{{/* Objects are named after the release alone: `helm install workerpool` makes workerpool-operator, workerpool-redis. */}}
{{- define "workerpool.operator" -}}
{{ .Release.Name }}-operator
{{- end }}

{{- define "workerpool.redis" -}}
{{ .Release.Name }}-redis
{{- end }}

{{/* Rights outside the release's namespace carry it in their name, so that two releases do not meet. */}}
{{- define "workerpool.grant" -}}
{{ .Release.Namespace }}:{{ include "workerpool.operator" . }}
{{- end }}

{{- define "workerpool.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "workerpool.operator" .) }}
{{- else -}}
{{ required "serviceAccount.create is false: name the account to use in serviceAccount.name" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "workerpool.redisSecret" -}}
{{ .Values.redis.existingSecret | default (include "workerpool.redis" .) }}
{{- end }}

{{/* (dict "context" $ "component" "operator"): what selects the pods; never changes in an upgrade. */}}
{{- define "workerpool.selector" -}}
app.kubernetes.io/name: workerpool
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "workerpool.labels" -}}
{{ include "workerpool.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
{{- end }}

{{/* (dict "context" $ "image" .Values.worker.image) */}}
{{- define "workerpool.image" -}}
{{ .image.repository }}:{{ .image.tag | default .context.Chart.AppVersion }}
{{- end }}

{{- define "workerpool.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "workerpool.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where pods may run; the same four values for each component. */}}
{{- define "workerpool.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Whether the operator looks at nodes and at everybody's pods; "true" or "". */}}
{{- define "workerpool.capacity" -}}
{{- if kindIs "bool" .Values.operator.capacity -}}
{{ .Values.operator.capacity | ternary "true" "" }}
{{- else -}}
{{ .Values.watchNamespaces | empty | ternary "true" "" }}
{{- end -}}
{{- end }}

{{/*
All the operator may do with pools and what they are made of. Nothing is ever deleted by it: what a pool owned is
collected by Kubernetes when the pool is gone. A test runs the operator and asks the API server which of it was used.
*/}}
{{- define "workerpool.operatorRules" -}}
- apiGroups: [workerpool.dev]
  resources: [workerpools]
  verbs: [list, watch]
- apiGroups: [workerpool.dev]
  resources: [workerpools/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# Who else scales a Deployment that a pool names in spec.targetRef.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
{{- if .Values.operator.retirement }}
# To find out which worker pods are idle, and to have those go first: an annotation is all that is written.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
{{- end }}
# The credentials a pool names in spec.queue.redis.secretRef: read one by one, never listed.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "workerpool.redisConf" -}}
dir /data
include /etc/redis-auth/auth.conf
# Every write goes to a log, and the log to the disk once a second: a crash costs at most that second.
appendonly yes
appendfsync everysec
# While the log is rewritten, writers do not wait for the disk (a crash just then costs what the kernel still held).
no-appendfsync-on-rewrite yes
# The log is the persistence; snapshots beside it would only double the disk's work.
save ""
# A full Redis refuses new jobs. It must never drop accepted ones.
maxmemory {{ .Values.redis.maxmemory }}
maxmemory-policy noeviction
{{- end }}
