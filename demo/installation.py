"""Install the product and the sample pool, and take both away again.

Knows the chart's values, the sample's file and what the demo adds to a cluster; not whose cluster
it is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import cpu, objects
from demo.cluster import Cluster
from demo.errors import CommandFailed, DemoError, Unsupported
from demo.follow import wait_until
from demo.local import Image, Images
from demo.objects import PRODUCER, Object
from demo.steps import Steps

RELEASE = NAMESPACE = "workerpool"
STABILIZATION_SECONDS = 5
"""The pool's wait before it scales in; the sample's own 60 s would be a minute of looking on."""
_INSTALL_SECONDS = 180
_READY_SECONDS = 120
_GRACE_SECONDS = 180
"""More than the sample's workers may take to end a job."""
_SAMPLE = Path("manifests", "workerpool.yaml")
_OPERATORS = "app.kubernetes.io/name=workerpool,app.kubernetes.io/component=operator"
_REDIS = "StatefulSet"
"""The one object of the sample, besides the pool, that has to become ready."""
_REDIS_VOLUMES = "app.kubernetes.io/instance=images,app.kubernetes.io/component=redis"
_RESOURCE = "workerpools.workerpool.dev"
_US = (RELEASE, NAMESPACE)
_MADE_BY_US = {"workerpool.dev/made-by": "demo"}


@dataclass(frozen=True, slots=True)
class Pool:
    """The sample pool as the demo runs it."""

    name: str
    max_replicas: int
    cpu: str


def install(cluster: Cluster, steps: Steps, checkout: Path, images: Images) -> None:
    """Install or upgrade the chart, and the sample's Redis; wait until both are ready."""
    with steps.step("Install the operator") as step:
        _refuse_a_second_operator(cluster)
        if not cluster.exists("namespace", NAMESPACE):
            metadata = {"name": NAMESPACE, "labels": _MADE_BY_US}
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        cluster.run_helm(
            *("upgrade", "--install", RELEASE, str(checkout / "charts" / "workerpool")),
            *("--namespace", NAMESPACE, "--set", "redis.enabled=false"),
            *_set_image("operator", images.operator),
            *_set_image("worker", images.worker),
            *_for_the_resource(cluster),
            timeout_seconds=_INSTALL_SECONDS,
        )
        _, others = _read_sample(cluster, checkout)
        redis = f"{images.redis.repository}:{images.redis.tag}"
        cluster.apply(*(objects.with_redis_image(item, redis) for item in others))
        names = [f"deployment/{RELEASE}-operator"]
        names += [f"statefulset/{i['metadata']['name']}" for i in others if i["kind"] == _REDIS]
        for name in names:
            _await_rollout(cluster, name)
        step.result = "with Helm, and a Redis beside it"


def apply_pool(cluster: Cluster, steps: Steps, checkout: Path) -> Pool:
    """Apply the sample pool, fitted to the cluster's cores, and wait for its Deployment."""
    with steps.step("Apply the sample pool") as step:
        choice = cpu.choose(_nodes(cluster))
        sample, _ = _read_sample(cluster, checkout)
        pool = objects.adapted_pool(sample, dict(choice.cpu), choice.room, STABILIZATION_SECONDS)
        cluster.apply(pool)
        name, replicas = pool["metadata"]["name"], pool["spec"]["maxReplicas"]
        wait_until(
            lambda: cluster.exists("deployment", f"{name}-worker", "-n", NAMESPACE),
            lambda: (
                f"the operator made no Deployment for the pool {name}; "
                f"read `kubectl -n {NAMESPACE} describe wp {name}` and "
                f"`kubectl -n {NAMESPACE} logs deployment/{RELEASE}-operator`"
            ),
            timeout_seconds=_READY_SECONDS,
        )
        step.result = f"0 to {replicas} replicas, cpu {choice.cpu['policy']}"
    steps.say(f"      {choice.because}.")
    steps.say(f"      It scales in after {STABILIZATION_SECONDS} s without work here, not 60 s.")
    return Pool(name, replicas, f"{choice.cpu['policy']} {choice.cpu.get('request', '1 core')}")


def start_producer(cluster: Cluster, steps: Steps, checkout: Path, pool: Pool) -> None:
    """Start the producer's pod, or find it running."""
    with steps.step("Start the producer"):
        config = objects.code(checkout / "demo", NAMESPACE)
        deployment = cluster.get("deployment", f"{pool.name}-worker", "-n", NAMESPACE)
        wanted = objects.producer(deployment, config)
        found = _find_pods(cluster)
        if found and objects.is_same_and_running(found[0], wanted):
            return
        if found:
            cluster.run("delete", "pod", PRODUCER, "-n", NAMESPACE, "--wait", "--timeout=60s")
        cluster.apply(config)
        cluster.apply(wanted)
        wait_until(
            lambda: any(pod["status"].get("phase") == "Running" for pod in _find_pods(cluster)),
            lambda: (
                "the producer's pod does not run; "
                f"read `kubectl -n {NAMESPACE} describe pod {PRODUCER}`"
            ),
            timeout_seconds=_READY_SECONDS,
        )


def uninstall(cluster: Cluster, steps: Steps, checkout: Path) -> None:
    """Take away what `install`, `apply_pool` and `start_producer` brought, and nothing else."""
    namespace = cluster.get("namespace", NAMESPACE, "--ignore-not-found")
    if namespace is None:
        steps.say("  There is nothing to remove.")
        return
    with steps.step("Remove the sample pool") as step:
        sample = str(checkout / _SAMPLE)
        gone = ("--ignore-not-found", "--timeout=120s")
        cluster.run("delete", "pod", PRODUCER, "-n", NAMESPACE, *gone, timeout_seconds=150)
        cluster.run("delete", "configmap", f"{PRODUCER}-code", "-n", NAMESPACE, *gone)
        if cluster.exists("crd", _RESOURCE):
            _delete_pool(cluster, checkout, gone)
            cluster.run("delete", "-n", NAMESPACE, "-f", sample, *gone, timeout_seconds=150)
        cluster.run("delete", "pvc", "-n", NAMESPACE, "-l", _REDIS_VOLUMES, *gone)
        step.result = "with its photos"
    with steps.step("Uninstall the operator") as step:
        words = ("--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s")
        cluster.run_helm("uninstall", RELEASE, *words, timeout_seconds=150)
        if _owner_of_the_resource(cluster) == _US and not cluster.get("wp", "-A")["items"]:
            cluster.run("delete", "crd", _RESOURCE, *gone, timeout_seconds=150)
        else:
            step.result = "the resource WorkerPool stays"
    labels = namespace["metadata"].get("labels", {})
    if _MADE_BY_US.items() <= labels.items():
        with steps.step("Remove the namespace") as step:
            cluster.run(*("delete", "namespace", NAMESPACE, "--timeout=180s"), timeout_seconds=200)
            step.result = NAMESPACE


def _delete_pool(cluster: Cluster, checkout: Path, gone: tuple[str, ...]) -> None:
    """Delete the pool and see its workers off first: without Redis they could not hand jobs back.

    They would then hold on to what they have, and with it to their volume, for their whole grace
    period.
    """
    pool, _ = _read_sample(cluster, checkout)
    name = pool["metadata"]["name"]
    cluster.run("delete", "wp", name, "-n", NAMESPACE, *gone, timeout_seconds=150)
    pods = ("pod", "-l", f"workerpool.dev/pool={name}", "-n", NAMESPACE)
    wait_until(
        lambda: not cluster.exists(*pods),
        lambda: f"workers do not end; read `kubectl -n {NAMESPACE} describe {' '.join(pods[:3])}`",
        timeout_seconds=_GRACE_SECONDS,
    )


def _refuse_a_second_operator(cluster: Cluster) -> None:
    """Two operators that look after the same pools would undo each other's writes."""
    found = cluster.get("deployments", "--all-namespaces", "-l", _OPERATORS)["items"]
    for deployment in found:
        namespace = deployment["metadata"]["namespace"]
        if namespace != NAMESPACE and objects.looks_after(deployment, NAMESPACE):
            raise Unsupported(
                f"{namespace}/{deployment['metadata']['name']} looks after this cluster's pools "
                "already. Uninstall it first, or try a pool with it: manifests/workerpool.yaml."
            )


def _for_the_resource(cluster: Cluster) -> tuple[str, ...]:
    """Leave the resource WorkerPool to the release that has it; take it if that one is gone."""
    owner = _owner_of_the_resource(cluster)
    if owner in (None, _US):
        return ()
    words = ("list", "--all-namespaces", "-o", "json")
    releases = json.loads(cluster.run_helm(*words, timeout_seconds=_INSTALL_SECONDS))
    if owner in {(release["name"], release["namespace"]) for release in releases}:
        return ("--set", "crds.install=false")
    return ("--take-ownership",)


def _owner_of_the_resource(cluster: Cluster) -> tuple[str, str] | None:
    """Return name and namespace of the release that installed the CRD; None if none did."""
    crd = cluster.get("crd", _RESOURCE, "--ignore-not-found") or {}
    annotations = crd.get("metadata", {}).get("annotations", {})
    owner = tuple(annotations.get(f"meta.helm.sh/release-{key}") for key in ("name", "namespace"))
    return owner if all(owner) else None


def _set_image(name: str, image: Image) -> tuple[str, ...]:
    values = (f"{name}.image.repository={image.repository}", f"{name}.image.tag={image.tag}")
    return tuple(word for value in values for word in ("--set-string", value))


def _await_rollout(cluster: Cluster, name: str) -> None:
    wait = ("rollout", "status", name, "-n", NAMESPACE, f"--timeout={_READY_SECONDS}s")
    try:
        cluster.run(*wait, timeout_seconds=_READY_SECONDS + 30)
    except CommandFailed as error:
        pods = cluster.run("get", "pods", "-n", NAMESPACE)
        raise CommandFailed(f"{error}\n\n    The pods at this moment:\n{pods}") from error


def _read_sample(cluster: Cluster, checkout: Path) -> tuple[Object, list[Object]]:
    """Return the sample's pool and its other objects; it is kubectl that can read YAML."""
    file = str(checkout / _SAMPLE)
    words = ("apply", "--dry-run=client", "-o", "json", "-n", NAMESPACE, "-f", file)
    items: list[Object] = json.loads(cluster.run(*words))["items"]
    pools = [item for item in items if item["kind"] == "WorkerPool"]
    if len(pools) != 1:
        raise DemoError(f"{file} holds {len(pools)} WorkerPools instead of one")
    return pools[0], [item for item in items if item not in pools]


def _find_pods(cluster: Cluster) -> list[dict[str, Any]]:
    selector = f"app.kubernetes.io/name={PRODUCER}"
    found: list[dict[str, Any]] = cluster.get("pods", "-n", NAMESPACE, "-l", selector)["items"]
    return found


def _nodes(cluster: Cluster) -> tuple[cpu.Node, ...]:
    nodes = [node for node in cluster.get("nodes")["items"] if objects.is_usable(node)]
    pods = cluster.get("pods", "--all-namespaces")["items"]
    return tuple(
        objects.free_cores(node, pods, _pins(cluster, node["metadata"]["name"])) for node in nodes
    )


def _pins(cluster: Cluster, node: str) -> bool | None:
    """Tell whether a node's kubelet gives whole cores away; None if it may not be asked."""
    try:
        answer = cluster.run("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz")
    except CommandFailed:
        return None
    policy = json.loads(answer)["kubeletconfig"].get("cpuManagerPolicy", "none")
    return bool(policy == "static")
