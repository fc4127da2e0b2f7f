"""Nodes and pods as the operator keeps them, for tests without an API server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from workerpool_operator.amounts import Amount
from workerpool_operator.capacity import Needs
from workerpool_operator.resource import Key
from workerpool_operator.stock import Node, Pod
from workerpool_operator.suitability import Traits

GIB = 2**30
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POOL = Key("shop", "images")
ONE_CORE = Needs(Amount(1000, GIB // 2), cores=1)


def node(name: str = "n1", cpu: int = 4000, **traits: Any) -> Node:  # noqa: ANN401  any trait
    """Return a node with so many thousandths of cores."""
    return Node(replace(Traits(name, {}, ()), **traits), Amount(cpu, 16 * GIB, 110))


def pod(name: str, node: str = "n1", **changes: Any) -> Pod:  # noqa: ANN401  any field
    """Return a worker of one core that its kubelet took in."""
    plain = Pod(
        key=Key("shop", name),
        node=node,
        amount=Amount(1000, GIB // 2),
        worker_cpu=1000,
        pool=POOL,
        leaving=False,
        over=False,
        admitted=True,
        rejection="",
        message="",
        since=NOW,
    )
    return replace(plain, **changes)


def rejected(name: str, ago: float, reason: str = "UnexpectedAdmissionError") -> Pod:
    """Return a worker that its node turned away so many seconds ago."""
    return pod(
        name,
        over=True,
        admitted=False,
        rejection=reason,
        message="not enough cpus",
        since=NOW - timedelta(seconds=ago),
    )
