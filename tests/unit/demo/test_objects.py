from pathlib import Path
from typing import Any

import pytest

import demo
from demo import objects
from demo.cpu import Node

SOURCES = Path(demo.__file__).parent
POOL: dict[str, Any] = {
    "apiVersion": "workerpool.dev/v1alpha1",
    "kind": "WorkerPool",
    "metadata": {"name": "images", "namespace": "workerpool", "annotations": {"a": "b"}},
    "spec": {"maxReplicas": 16, "cpu": {"policy": "Exclusive"}, "memory": "512Mi"},
}
WORKER: dict[str, Any] = {
    "name": "worker",
    "image": "localhost/image-worker:1",
    "env": [{"name": "WORKERPOOL_QUEUE", "value": "queue:images"}],
    "volumeMounts": [{"name": "photos", "mountPath": "/photos"}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8081}},
    "resources": {"requests": {"cpu": "1"}},
}
DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "images-worker", "namespace": "workerpool"},
    "spec": {
        "template": {
            "metadata": {"labels": {"workerpool.dev/pool": "images"}},
            "spec": {
                "containers": [{"name": "sidecar"}, WORKER],
                "volumes": [{"name": "photos"}],
                "securityContext": {"runAsNonRoot": True},
                "terminationGracePeriodSeconds": 130,
            },
        }
    },
}


def test_the_sample_pool_keeps_what_the_demo_does_not_care_about() -> None:
    adapted = objects.adapted_pool(POOL, {"policy": "Shared", "request": "250m"}, 6, 5)
    assert adapted["spec"] == {
        "maxReplicas": 6,
        "cpu": {"policy": "Shared", "request": "250m"},
        "memory": "512Mi",
        "scaleDown": {"stabilizationSeconds": 5},
    }
    assert adapted["metadata"] == POOL["metadata"]
    assert POOL["spec"]["maxReplicas"] == 16


@pytest.mark.parametrize(("room", "expected"), [(0, 1), (6, 6), (16, 16), (400, 16)])
def test_no_more_replicas_are_allowed_than_fit(room: int, expected: int) -> None:
    adapted = objects.adapted_pool(POOL, {"policy": "Exclusive"}, room, 5)
    assert adapted["spec"]["maxReplicas"] == expected


def test_redis_gets_the_image_that_the_cluster_has_and_nothing_else_changes() -> None:
    containers = [{"name": "redis", "image": "redis:7"}]
    redis = {"kind": "StatefulSet", "spec": {"template": {"spec": {"containers": containers}}}}
    changed = objects.with_redis_image(redis, "localhost/redis:1")
    assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/redis:1"
    assert containers[0]["image"] == "redis:7"
    assert objects.with_redis_image(POOL, "localhost/redis:1") is POOL


def test_the_producer_sees_what_a_worker_sees() -> None:
    pod = objects.producer(DEPLOYMENT, objects.code(SOURCES, "workerpool"))
    (container,) = pod["spec"]["containers"]
    assert container["image"] == WORKER["image"]
    assert container["env"] == WORKER["env"]
    assert WORKER["volumeMounts"][0] in container["volumeMounts"]
    assert {"name": "photos"} in pod["spec"]["volumes"]
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True}


def test_the_producer_is_no_worker() -> None:
    pod = objects.producer(DEPLOYMENT, objects.code(SOURCES, "workerpool"))
    (container,) = pod["spec"]["containers"]
    assert "workerpool.dev/pool" not in pod["metadata"]["labels"]
    assert "readinessProbe" not in container
    assert container["resources"]["requests"]["cpu"] == "100m"


def test_every_module_that_the_producer_imports_goes_with_it() -> None:
    data = objects.code(SOURCES, "workerpool")["data"]
    imported = {
        line.split()[1].removeprefix("demo.")
        for text in data.values()
        for line in text.splitlines()
        if line.startswith("from demo.")
    }
    assert imported <= {name.removesuffix(".py") for name in data}
    assert sum(len(text) for text in data.values()) < 1_000_000


def test_a_producer_is_replaced_when_its_code_or_its_image_changes() -> None:
    config = objects.code(SOURCES, "workerpool")
    wanted = objects.producer(DEPLOYMENT, config)
    found = {**wanted, "status": {"phase": "Running"}}
    changed = {**config, "data": {**config["data"], "photos.py": "pass"}}
    assert objects.is_same_and_running(found, wanted)
    assert not objects.is_same_and_running(found, objects.producer(DEPLOYMENT, changed))
    assert not objects.is_same_and_running({**found, "status": {"phase": "Failed"}}, wanted)


@pytest.mark.parametrize(
    ("watched", "expected"),
    [(None, True), ("", True), ("a,workerpool", True), ("a,workerpool-test", False)],
)
def test_an_operator_looks_after_all_namespaces_unless_some_are_named(
    watched: str | None, *, expected: bool
) -> None:
    env = [{"name": "POD_NAME", "valueFrom": {}}]
    if watched is not None:
        env.append({"name": "WORKERPOOL_WATCH_NAMESPACES", "value": watched})
    operator = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    assert objects.looks_after(operator, "workerpool") is expected


def test_cores_are_free_that_no_living_pod_of_the_node_requests() -> None:
    def pod(node: str, phase: str, *cpus: str) -> dict[str, Any]:
        containers = [{"resources": {"requests": {"cpu": cpu}}} for cpu in cpus]
        return {"spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}}

    node = {"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4"}}}
    best_effort = {"spec": {"nodeName": "a", "containers": [{}]}, "status": {"phase": "Running"}}
    pods = [
        pod("a", "Running", "1", "250m"),
        pod("a", "Pending", "100m"),
        pod("a", "Succeeded", "2"),
        pod("b", "Running", "2"),
        best_effort,
    ]
    assert objects.free_cores(node, pods, pins=True) == Node("a", 4000, 1350, pins=True)


@pytest.mark.parametrize(
    ("spec", "ready", "expected"),
    [
        ({}, "True", True),
        ({}, "Unknown", False),
        ({"unschedulable": True}, "True", False),
        ({"taints": [{"effect": "NoSchedule"}]}, "True", False),
        ({"taints": [{"effect": "PreferNoSchedule"}]}, "True", True),
    ],
)
def test_only_nodes_that_take_pods_are_counted(
    spec: dict[str, Any], ready: str, *, expected: bool
) -> None:
    conditions = [{"type": "Ready", "status": ready}]
    assert objects.is_usable({"spec": spec, "status": {"conditions": conditions}}) is expected
