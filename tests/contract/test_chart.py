"""What the chart makes: refused values, confined pods, the operator's settings, the sample."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.api_server import ROOT, ApiServer
from support.helm import CHART, Document, Helm, HelmError, only, pod_templates
from workerpool_operator.telemetry import POOL_GAUGES

EVERYTHING = (
    "--api-versions=workerpool.dev/v1alpha1/WorkerPool",
    "--set=samplePool.enabled=true",
    "--set=metrics.podMonitor.enabled=true",
    "--set=metrics.prometheusRule.enabled=true",
    "--set=operator.nodeSelector.disk=ssd,redis.priorityClassName=high",
    "--set=operator.tolerations[0].key=batch",
    "--set=imagePullSecrets={registry}",
)


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def documents(helm: Helm) -> list[Document]:
    """All the chart can make."""
    return helm.render(*EVERYTHING)


def test_helm_finds_no_fault(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", CHART)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("redis.enabld=true", "at '/redis': additional properties 'enabld' not allowed"),
        ("image.tag=1", "additional properties 'image' not allowed"),
        ("watchNamespaces=shop", "at '/watchNamespaces': got string, want array"),
        ("watchNamespaces={shop,shop}", "at '/watchNamespaces': items at 0 and 1 are equal"),
        ("watchNamespaces={Shop}", "at '/watchNamespaces/0'"),
        ("operator.tickSeconds=0", "at '/operator/tickSeconds': minimum: got 0, want 0.01"),
        ("operator.requestTimeoutSeconds=16", "maximum: got 16, want 15"),
        ("operator.logLevel=LOUD", "'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ("operator.image.pullPolicy=Sometimes", "'Always', 'IfNotPresent', 'Never'"),
        ("operator.image.repository=operator:1", "at '/operator/image/repository'"),
        ("redis.password=two words", "at '/redis/password'"),
        ("redis.maxmemory=256Mi", "at '/redis/maxmemory'"),
        ("redis.persistence.size=big", "at '/redis/persistence/size'"),
        ("samplePool.cpu.policy=Pinned", "'Exclusive', 'Shared'"),
        ("samplePool.minReplicas=-1", "at '/samplePool/minReplicas': minimum: got -1, want 0"),
        ("samplePool.redis.url=redis://ann:secret@redis", "at '/samplePool/redis/url'"),
        ("metrics.podMonitor.interval=15", "at '/metrics/podMonitor/interval'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(helm: Helm, value: str, complaint: str) -> None:
    with pytest.raises(HelmError) as refused:
        helm.render(f"--set={value}")

    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (("samplePool.enabled=true",), "Install the chart without the sample first"),
        (
            ("samplePool.enabled=true", "redis.enabled=false"),
            "set samplePool.redis.url to yours, or redis.enabled to true",
        ),
        (("serviceAccount.create=false",), "name the account to use in serviceAccount.name"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_remedy(
    helm: Helm, values: tuple[str, ...], remedy: str
) -> None:
    known = [] if "Install" in remedy else [EVERYTHING[0]]

    with pytest.raises(HelmError) as refused:
        helm.render(*known, *(f"--set={value}" for value in values))

    assert remedy in str(refused.value)


def leaves(schema: Document, values: object, path: str = "") -> Iterator[tuple[str, Document]]:
    """Yield each value of values.yaml with what the schema says about it."""
    yield path, schema
    if isinstance(values, dict) and "properties" in schema:
        assert values.keys() == schema["properties"].keys() - {"global"}, path
        for name, value in values.items():
            yield from leaves(schema["properties"][name], value, f"{path}.{name}")


def known_values() -> dict[str, Document]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # Without a default here: a WorkerPool has its own.
    values["samplePool"]["cpu"] |= {"cores": 1, "request": "250m"}
    return {path.removeprefix("."): part for path, part in leaves(schema, values)}


def test_the_schema_describes_exactly_what_values_yaml_has() -> None:
    known = known_values()

    assert [path for path, part in known.items() if not part.get("description")] == []
    open_objects = [
        path
        for path, part in known.items()
        if "properties" in part and part.get("additionalProperties") is not False
    ]
    assert open_objects == []


def test_the_installation_guide_names_values_that_exist() -> None:
    guide = (ROOT / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| (`[a-z][^|]*) \|", guide.partition("### Values")[2], re.MULTILINE)
    named = {name for row in rows[: rows.index("`workerpools`")] for name in row.split("`")[1::2]}

    assert named <= known_values().keys()
    assert "redis.enabled" in named


def test_every_pod_is_confined(documents: list[Document]) -> None:
    templates = pod_templates(documents)

    assert templates.keys() == {"workerpool-operator", "workerpool-redis"}
    for template in templates.values():
        spec = template["spec"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys()


def test_only_the_operator_gets_a_token(documents: list[Document]) -> None:
    tokens = {
        name: template["spec"]["automountServiceAccountToken"]
        for name, template in pod_templates(documents).items()
    }

    assert tokens == {"workerpool-operator": True, "workerpool-redis": False}
    assert only(documents, "ServiceAccount")["automountServiceAccountToken"] is False


def test_a_namespace_for_restricted_pods_admits_every_pod(
    api: ApiServer, namespace: str, documents: list[Document]
) -> None:
    for name, template in pod_templates(documents).items():
        spec = {
            key: value for key, value in template["spec"].items() if key != "priorityClassName"
        }
        # The claim's volume is added by the StatefulSet's controller, and none runs here.
        spec["volumes"] = [*spec.get("volumes", []), {"name": "data", "emptyDir": {}}]
        pod = {"metadata": {"name": name}, "spec": spec}

        answer = api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)

        assert answer.code == 201, answer.message


def test_the_api_server_accepts_everything_without_a_warning(
    api: ApiServer, namespace: str, helm: Helm
) -> None:
    values = [word for word in EVERYTHING if not word.startswith("--set=metrics")]
    text = helm.run("template", "workerpool", CHART, "--namespace", namespace, *values)

    done = api.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "--namespace", namespace, "-f", "-"),
        stdin=text,
    )

    assert done.stderr == ""
    assert "workerpool.workerpool.dev/images created (server dry run)" in done.stdout
    assert "statefulset.apps/workerpool-redis created (server dry run)" in done.stdout


def test_alerts_are_about_metrics_that_exist(documents: list[Document]) -> None:
    [rule] = [document for document in documents if document["kind"] == "PrometheusRule"]
    alerts = {r["alert"]: r for group in rule["spec"]["groups"] for r in group["rules"]}
    served = {f"workerpool_{name}" for name in POOL_GAUGES}
    for alert in alerts.values():
        assert set(re.findall(r"\bworkerpool_\w+", alert["expr"])) <= served
        assert "docs/" in alert["annotations"]["description"], "it says what to do"
    stolen = alerts["WorkerPoolCpuStolen"]
    assert stolen["expr"].endswith("(workerpool_cpu_steal_ratio) > 0.05")
    assert stolen["for"] == "5m"
    assert "{{ $labels.pool }}" in stolen["annotations"]["summary"], "Prometheus fills that in"


def environment(documents: list[Document]) -> dict[str, Any]:
    template = pod_templates(documents)["workerpool-operator"]
    [container] = template["spec"]["containers"]
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]
    }


def test_the_operator_gets_the_default_settings(documents: list[Document]) -> None:
    assert environment(documents) == {
        "WORKERPOOL_WORKER_IMAGE": "image-worker:0.1.0",
        "WORKERPOOL_WORKER_IMAGE_PULL_POLICY": "IfNotPresent",
        "WORKERPOOL_RETIREMENT": "on",
        "WORKERPOOL_TICK_SECONDS": "0.25",
        "WORKERPOOL_SAFETY_POLL_SECONDS": "30",
        "WORKERPOOL_REQUEST_TIMEOUT_SECONDS": "5",
        "WORKERPOOL_MAX_WRITES_IN_FLIGHT": "16",
        "WORKERPOOL_LOG_LEVEL": "INFO",
        "WORKERPOOL_LOG_FORMAT": "json",
        "WORKERPOOL_HTTP_PORT": "8080",
        "WORKERPOOL_CAPACITY": "true",
        "WORKERPOOL_LEADER_LEASE_NAME": "workerpool-operator",
        "WORKERPOOL_LEADER_LEASE_SECONDS": "10",
        "POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }


def test_values_reach_the_operator(helm: Helm) -> None:
    documents = helm.render(
        "--set=watchNamespaces={shop,press}",
        "--set=operator.logLevel=DEBUG,operator.tickSeconds=1,worker.image.pullPolicy=Always",
        "--set=worker.image.repository=registry.example.org:5000/team/image-worker",
        "--set=worker.image.tag=1.2",
        "--set=operator.image.repository=localhost/workerpool-operator,operator.image.tag=abc",
    )

    settings = environment(documents)
    template = pod_templates(documents)["workerpool-operator"]

    assert settings["WORKERPOOL_WATCH_NAMESPACES"] == "shop,press"
    assert settings["WORKERPOOL_LOG_LEVEL"] == "DEBUG"
    assert settings["WORKERPOOL_TICK_SECONDS"] == "1"
    assert settings["WORKERPOOL_WORKER_IMAGE"] == "registry.example.org:5000/team/image-worker:1.2"
    assert settings["WORKERPOOL_WORKER_IMAGE_PULL_POLICY"] == "Always"
    assert template["spec"]["containers"][0]["image"] == "localhost/workerpool-operator:abc"


def test_an_update_begins_the_new_operator_before_the_old_one_ends(
    documents: list[Document],
) -> None:
    spec = only(documents, "Deployment")["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert not [d for d in documents if d["kind"] == "PodDisruptionBudget"]
    assert "affinity" not in spec["template"]["spec"]


def test_several_operators_are_kept_apart_and_drained_one_by_one(helm: Helm) -> None:
    documents = helm.render("--set=operator.replicas=2")

    spec = only(documents, "Deployment")["spec"]
    budget = only(documents, "PodDisruptionBudget")["spec"]
    affinity = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    (preferred,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]

    assert spec["replicas"] == 2
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]
    assert preferred["podAffinityTerm"]["labelSelector"] == spec["selector"]


def test_an_affinity_of_ones_own_is_taken_instead(helm: Helm) -> None:
    documents = helm.render(
        "--set=operator.replicas=2", '--set-json=operator.affinity={"nodeAffinity": {}}'
    )

    template = only(documents, "Deployment")["spec"]["template"]

    assert template["spec"]["affinity"] == {"nodeAffinity": {}}


def test_the_lease_is_the_one_the_operator_has_rights_to(documents: list[Document]) -> None:
    role = only(documents, "Role", "workerpool-operator-lease")
    named = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]

    assert named == [[environment(documents)["WORKERPOOL_LEADER_LEASE_NAME"]]]


def test_every_selector_finds_the_pods_it_is_meant_for(documents: list[Document]) -> None:
    templates = pod_templates(documents)
    selectors = {
        ("Service", "workerpool-operator"): ("spec", "selector"),
        ("PodMonitor", "workerpool-operator"): ("spec", "selector", "matchLabels"),
        ("Deployment", "workerpool-operator"): ("spec", "selector", "matchLabels"),
        ("Service", "workerpool-redis"): ("spec", "selector"),
        ("StatefulSet", "workerpool-redis"): ("spec", "selector", "matchLabels"),
    }
    for (kind, name), path in selectors.items():
        selector: Any = only(documents, kind, name)
        for step in path:
            selector = selector[step]
        found = [
            pod
            for pod, template in templates.items()
            if selector.items() <= template["metadata"]["labels"].items()
        ]
        assert found == [name], kind


def test_the_sample_pool_speaks_to_the_embedded_redis(documents: list[Document]) -> None:
    redis = only(documents, "WorkerPool")["spec"]["queue"]["redis"]

    service = only(documents, "Service", redis["url"].removeprefix("redis://").split(":")[0])
    assert service["spec"]["ports"][0]["port"] == 6379
    assert "password" in only(documents, "Secret", redis["secretRef"]["name"])["stringData"]


def test_the_sample_pool_can_be_shared_on_a_small_machine(
    api: ApiServer, namespace: str, helm: Helm
) -> None:
    small = "--set=samplePool.cpu.policy=Shared,samplePool.cpu.request=250m"
    sample = only(helm.render(*EVERYTHING, small), "WorkerPool")
    sample["metadata"]["namespace"] = namespace

    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{namespace}/workerpools"
    answer = api.request("POST", f"{path}?dryRun=All", sample)

    assert answer.code == 201, answer.message
    assert answer.body["spec"]["cpu"] == {"policy": "Shared", "request": "250m"}
