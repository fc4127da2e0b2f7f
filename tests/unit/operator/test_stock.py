"""Nodes and pods, as the API has them."""

from datetime import timedelta
from typing import Any

import pytest

from support.stock import GIB, NOW, POOL
from workerpool_operator.amounts import NOTHING, Amount
from workerpool_operator.stock import parse_node, parse_pod
from workerpool_operator.suitability import Taint


def test_a_node_as_the_api_has_it() -> None:
    taint = {"key": "only", "value": "batch", "effect": "NoSchedule"}
    mild = {"key": "slow", "effect": "PreferNoSchedule"}
    body = {
        "metadata": {"name": "n1", "labels": {"disk": "ssd"}},
        "spec": {"unschedulable": True, "taints": [taint, mild]},
        "status": {"allocatable": {"cpu": "3920m", "memory": "16Gi", "pods": "110"}},
    }

    parsed = parse_node(body)

    assert (parsed.name, parsed.traits.labels) == ("n1", {"disk": "ssd"})
    assert parsed.allocatable == Amount(3920, 16 * GIB, 110)
    cordon = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    assert parsed.traits.taints == (cordon, Taint("only", "batch", "NoSchedule"))
    bare = {"metadata": {"name": "n2"}}
    assert parse_node(bare).allocatable == Amount(0, 0, 0), "before its kubelet has reported"


def test_a_pod_that_was_turned_away_as_the_api_has_it() -> None:
    body = {
        "metadata": {
            "name": "images-worker-x",
            "namespace": "shop",
            "labels": {"workerpool.dev/pool": "images"},
            "creationTimestamp": "2026-03-01T12:00:00Z",
        },
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "worker", "resources": {"requests": {"cpu": "1"}}}],
        },
        "status": {"phase": "Failed", "reason": "SMTAlignmentError", "message": "SMT Alignment"},
    }

    parsed = parse_pod(body)

    assert (parsed.pool, parsed.rejection, parsed.over) == (POOL, "SMTAlignmentError", True)
    assert (parsed.takes, parsed.worker_cpu, parsed.admitted) == (NOTHING, 1000, False)
    assert parsed.since == NOW
    evicted = body | {"status": {"phase": "Failed", "reason": "Evicted"}}
    assert parse_pod(evicted).rejection == ""
    answered = body["status"] | {"startTime": "2026-03-01T12:30:00Z"}  # type: ignore[operator]
    assert parse_pod(body | {"status": answered}).since == NOW + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("status", "admitted"),
    [
        ({}, False),
        ({"phase": "Pending"}, False),
        ({"phase": "Pending", "containerStatuses": [{"name": "worker"}]}, True),
        ({"phase": "Pending", "initContainerStatuses": [{"name": "first"}]}, True),
        ({"phase": "Running", "containerStatuses": [{"name": "worker"}]}, True),
    ],
)
def test_a_kubelet_that_tells_of_containers_took_the_pod_in(
    status: dict[str, Any],
    admitted: bool,  # noqa: FBT001  a column of the table
) -> None:
    body = {
        "metadata": {
            "name": "p",
            "namespace": "shop",
            "creationTimestamp": "2026-03-01T12:00:00Z",
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": status,
    }

    assert parse_pod(body).admitted is admitted
