"""The Kubernetes objects that every cluster starts with; pure.

What the control plane's own programs may do, the DNS service, and the default storage class.
"""

from typing import Any

from localcluster import addresses

STORAGE_CLASS = "local"
PROVISIONER = "localcluster.workerpool.dev/folders"


def initial() -> dict[str, Any]:
    """Return everything as one list to apply."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            _binding("localcluster:kubelet-api", "system:kubelet-api-admin", _API_SERVER),
            *_role(
                "localcluster:coredns",
                (["", "discovery.k8s.io"], _DNS_READS, ["list", "watch"]),
            ),
            *_role(
                "localcluster:provisioner",
                ([""], ["persistentvolumeclaims"], ["list", "watch"]),
                ([""], ["persistentvolumes"], ["list", "create", "delete"]),
            ),
            *_dns(),
            _storage_class(),
        ],
    }


_API_SERVER = "kube-apiserver-kubelet"
_DNS_READS = ["endpointslices", "namespaces", "pods", "services"]
_Rule = tuple[list[str], list[str], list[str]]


def _role(name: str, *rules: _Rule) -> list[dict[str, object]]:
    """Return a cluster role and its binding to the user of the same name."""
    role: dict[str, object] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [
            {"apiGroups": groups, "resources": resources, "verbs": verbs}
            for groups, resources, verbs in rules
        ],
    }
    return [role, _binding(name, name, name)]


def _binding(name: str, role: str, user: str) -> dict[str, object]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def _dns() -> list[dict[str, object]]:
    """Return the DNS service and, as CoreDNS is no pod, its one endpoint."""
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in _PROTOCOLS]
    service: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": str(addresses.DNS_SERVICE), "ports": ports},
    }
    endpoints: dict[str, object] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-control-plane",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [
            {"addresses": [str(addresses.CONTROL_PLANE)], "conditions": {"ready": True}}
        ],
    }
    return [service, endpoints]


_PROTOCOLS = ("UDP", "TCP")


def _storage_class() -> dict[str, object]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }
