"""Nodes and pods as far as cores are concerned: slim records of the API's documents. Pure.

Knows what a node gives, what a pod takes, and how a kubelet says that it turned one away; not how
many more would fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workerpool_operator.amounts import NOTHING, Amount, allocatable, requested, requests
from workerpool_operator.resource import Key
from workerpool_operator.suitability import Traits, parse_traits
from workerpool_operator.workload import CONTAINER, POOL_LABEL

REJECTIONS = frozenset(
    ("SMTAlignmentError", "UnexpectedAdmissionError", "TopologyAffinityError", "OutOfcpu")
)
"""Why a kubelet turns away a pod that was bound to its node for want of cores."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler sees it."""

    traits: Traits
    allocatable: Amount

    @property
    def name(self) -> str:
        """The node's name."""
        return self.traits.name


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that takes room, or was denied it."""

    key: Key
    node: str
    """Where it is bound; nowhere yet if empty."""
    amount: Amount
    """What it asked for."""
    worker_cpu: int
    """Thousandths of a core that its worker's container asked for."""
    pool: Key | None
    """Whose worker it is, if it is a pool's."""
    leaving: bool
    """Whether it is being ended: until it is gone, its cores are taken."""
    over: bool
    """Whether it has ended, so that it takes nothing any more."""
    admitted: bool
    """Whether its kubelet took it in, and goes on to start it."""
    rejection: str
    """Why its node turned it away, if it did."""
    message: str
    since: datetime
    """When its kubelet first answered for it, or else when it was made."""

    @property
    def takes(self) -> Amount:
        """What its node lacks because of it."""
        return NOTHING if self.over or not self.node else self.amount

    @property
    def placed(self) -> bool:
        """Whether it is bound to a node, to stay there."""
        return bool(self.node) and not self.over and not self.leaving


def parse_node(body: Mapping[str, Any]) -> Node:
    """Return the record of a Node."""
    given = (body.get("status") or {}).get("allocatable") or {}
    return Node(parse_traits(body), allocatable(given))


def parse_pod(body: Mapping[str, Any]) -> Pod:
    """Return the record of a Pod."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    key = Key(meta["namespace"], meta["name"])
    pool = (meta.get("labels") or {}).get(POOL_LABEL)
    phase = status.get("phase")
    rejected = phase == "Failed" and status.get("reason") in REJECTIONS
    workers = (c for c in spec["containers"] if pool and c.get("name") == CONTAINER)
    return Pod(
        key=key,
        node=spec.get("nodeName") or "",
        amount=requests(spec),
        worker_cpu=sum(requested(worker).cpu for worker in workers),
        pool=Key(key.namespace, pool) if pool else None,
        leaving="deletionTimestamp" in meta,
        over=phase in {"Succeeded", "Failed"},
        # A kubelet tells of containers once it means to start them.
        admitted=bool(status.get("containerStatuses") or status.get("initContainerStatuses")),
        rejection=status["reason"] if rejected else "",
        message=str(status.get("message") or "")[:200] if rejected else "",
        since=datetime.fromisoformat(status.get("startTime") or meta["creationTimestamp"]),
    )
