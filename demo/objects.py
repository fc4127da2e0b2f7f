"""The Kubernetes objects of the demo, as dictionaries. Pure.

Knows what the sample pool and the operator's Deployment look like; asks no cluster. The producer's
pod is the worker's own pod template with another command, so it sees the queue and the volume
exactly as a worker does, whatever the sample says.
"""

from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

from demo.cpu import Node, milli

PRODUCER = "producer"
_CODE = "/opt/demo"
_IN_THE_POD = (
    "__init__",
    "contact_sheet",
    "painting",
    "photos",
    "producer",
    "scenes",
)
_OF_A_CONTAINER = ("image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext")
_OF_A_POD = (
    "volumes",
    "securityContext",
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "automountServiceAccountToken",
)
_DIGEST = "workerpool.dev/demo-digest"

Object = dict[str, Any]


def adapted_pool(pool: Object, cpu: Object, room: int, stabilization_seconds: int) -> Object:
    """Return the sample pool with the demo's cpu and its shorter wait before scaling in.

    There are never more replicas than fit: Pending pods would only be noise in a first look.
    """
    spec = {
        **pool["spec"],
        "cpu": cpu,
        "maxReplicas": max(1, min(pool["spec"]["maxReplicas"], room)),
        "scaleDown": {"stabilizationSeconds": stabilization_seconds},
    }
    return {**pool, "spec": spec}


def with_redis_image(item: Object, image: str) -> Object:
    """Return one of the sample's objects with the image that the cluster has of Redis."""
    if item["kind"] != "StatefulSet":
        return item
    changed = deepcopy(item)
    for container in changed["spec"]["template"]["spec"]["containers"]:
        container["image"] = image
    return changed


def code(folder: Path, namespace: str) -> Object:
    """Return the ConfigMap with the modules that run in the producer's pod."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{PRODUCER}-code", "namespace": namespace},
        "data": {f"{name}.py": (folder / f"{name}.py").read_text() for name in _IN_THE_POD},
    }


def producer(deployment: Object, config: Object) -> Object:
    """Return the producer's pod for a pool's Deployment and the ConfigMap of `code`."""
    template = deployment["spec"]["template"]["spec"]
    worker = next(c for c in template["containers"] if c["name"] == "worker")
    container = {key: worker[key] for key in _OF_A_CONTAINER if key in worker}
    pod = {key: template[key] for key in _OF_A_POD if key in template}
    mount = {"name": "demo-code", "mountPath": f"{_CODE}/demo", "readOnly": True}
    files = {"name": "demo-code", "configMap": {"name": config["metadata"]["name"]}}
    wanted = {
        **pod,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "volumes": [*pod.get("volumes", []), files],
        "containers": [
            {
                **container,
                "name": PRODUCER,
                "command": ["python", "-m", "demo.producer", "idle"],
                "workingDir": _CODE,
                "volumeMounts": [*container.get("volumeMounts", []), mount],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }
        ],
    }
    digest = sha256(repr((wanted, config["data"])).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": PRODUCER,
            "namespace": deployment["metadata"]["namespace"],
            "labels": {"app.kubernetes.io/name": PRODUCER},
            "annotations": {_DIGEST: digest},
        },
        "spec": wanted,
    }


def is_same_and_running(found: Object, wanted: Object) -> bool:
    """Tell whether a pod that was found is the wanted one and can be used as it is."""
    annotations = found["metadata"].get("annotations", {})
    return bool(
        annotations.get(_DIGEST) == wanted["metadata"]["annotations"][_DIGEST]
        and found.get("status", {}).get("phase") == "Running"
        and "deletionTimestamp" not in found["metadata"]
    )


def looks_after(operator: Object, namespace: str) -> bool:
    """Tell whether an operator's Deployment watches a namespace: named, or all of them."""
    (container, *_) = operator["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
    named = environment.get("WORKERPOOL_WATCH_NAMESPACES") or namespace
    return namespace in named.split(",")


def free_cores(node: Object, pods: list[Object], pins: bool | None) -> Node:  # noqa: FBT001
    """Return what a node can still give, from its object and the pods of the cluster."""
    name = node["metadata"]["name"]
    requested = sum(
        milli(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
        for pod in pods
        if pod["spec"].get("nodeName") == name
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        for container in pod["spec"]["containers"]
    )
    return Node(name, milli(node["status"]["allocatable"]["cpu"]), requested, pins)


def is_usable(node: Object) -> bool:
    """Tell whether ordinary pods can be placed on a node now."""
    spec, conditions = node["spec"], node["status"].get("conditions", [])
    tainted = any(
        taint["effect"] in ("NoSchedule", "NoExecute") for taint in spec.get("taints", [])
    )
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not tainted and not spec.get("unschedulable", False)
