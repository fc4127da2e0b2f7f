"""How many more pods of a kind the nodes have room for. Pure.

Counts as the scheduler does with what matters to whole cores: allocatable CPU, memory and pod
slots minus the requests of what is bound, node selectors, required node affinity, taints. What it
leaves out (topology spread, pod affinity, volumes, devices) can only make it see too much room:
then some pods wait, as they would have without it.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from workerpool_operator.model import Places
from workerpool_operator.resource import Key
from workerpool_operator.workload import POOL_LABEL

REJECTIONS = frozenset(
    ("SMTAlignmentError", "UnexpectedAdmissionError", "TopologyAffinityError", "OutOfcpu")
)
"""Why a kubelet turns away a pod that was bound to its node for want of cores."""
HOLD = timedelta(seconds=10)
"""How long after a rejection no further pod is tried; twice as long after each one more."""
HOLD_LONGEST = timedelta(minutes=5)
REMEMBERED = timedelta(minutes=30)
"""For how long a rejection counts."""
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


class Amount(NamedTuple):
    """What a pod takes or a node gives."""

    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    pods: int = 1

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Amount") -> "Amount":
        """Return what is left."""
        return Amount(*(a - b for a, b in zip(self, other, strict=True)))

    def largest(self, other: "Amount") -> "Amount":
        """Return the larger of each."""
        return Amount(*map(max, self, other))

    def holds(self, one: "Amount") -> int:
        """Return how often `one` fits."""
        times = (have // want for have, want in zip(self, one, strict=True) if want > 0)
        return max(0, min(times, default=0))


NOTHING = Amount(0, 0, 0)


class Taint(NamedTuple):
    """What keeps pods off a node."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler sees it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Amount


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that takes room, or was denied it."""

    key: Key
    node: str
    """Where it is bound; nowhere yet if empty."""
    amount: Amount
    pool: Key | None
    """Whose worker it is, if it is a pool's."""
    leaving: bool
    """Whether it is being ended: until it is gone, its cores are taken."""
    over: bool
    """Whether it has ended, so that it takes nothing any more."""
    rejection: str
    """Why its node turned it away, if it did."""
    message: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pool's pods ask of a node."""

    amount: Amount
    cores: int
    selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[tuple["Requirement", ...], ...] | None = None
    """Terms of which one must hold; `None` if there is no such wish."""
    tolerations: tuple["Toleration", ...] = ()


class Requirement(NamedTuple):
    """One expression about a node's label, or its name (an empty key)."""

    key: str
    operator: str
    values: tuple[str, ...]


class Toleration(NamedTuple):
    """A taint that a pod does not mind; what is empty matches anything."""

    key: str
    operator: str
    value: str
    effect: str


def room(needs: Needs, nodes: Iterable[Node], taken: Mapping[str, Amount]) -> int:
    """Return how many more pods find a place on `nodes`, from which `taken` is gone."""
    return sum(
        node.allocatable.minus(taken.get(node.name, NOTHING)).holds(needs.amount)
        for node in nodes
        if _admits(node, needs)
    )


def places(needs: Needs, free: int, pods: Iterable[Pod], at: datetime) -> Places:
    """Return how many replicas have a place or would find one, given all `pods` of the pool.

    A pod that is bound keeps its place, whatever its node admits by now; one on its way out is
    nobody's replica. While a rejection is fresh no further pod is tried: a node that turned one
    away would turn away each that its ReplicaSet makes instead, many a second.
    """
    pods = list(pods)
    held = sum(1 for pod in pods if pod.node and not pod.over and not pod.leaving)
    refused = sorted(
        (pod for pod in pods if pod.rejection and at - pod.created < REMEMBERED),
        key=lambda pod: pod.created,
    )
    if refused:
        last, number = refused[-1], len(refused)
        if at - last.created < min(HOLD_LONGEST, HOLD * 2 ** min(number - 1, 16)):
            return Places(held, needs.cores, _remedy(last, needs))
    return Places(held + free, needs.cores)


def _remedy(pod: Pod, needs: Needs) -> str:
    if pod.rejection == "SMTAlignmentError":
        whole = needs.cores + needs.cores % 2
        return (
            f"the node {pod.node} gives out whole physical cores only (full-pcpus-only): set "
            f"spec.cpu.cores: {max(2, whole)} and spec.cpu.threadsPerCore: 2 (SMTAlignmentError)"
        )
    told = f": {pod.message}" if pod.message else ""
    return (
        f"the node {pod.node} turned a pod away ({pod.rejection}{told}): its cores are taken by "
        f"something that the scheduler does not count, or spread as its policy forbids"
    )


def _admits(node: Node, needs: Needs) -> bool:
    return (
        all(node.labels.get(key) == value for key, value in needs.selector)
        and (
            needs.affinity is None
            or any(term and all(_holds(r, node) for r in term) for term in needs.affinity)
        )
        and all(any(_tolerates(t, taint) for t in needs.tolerations) for taint in node.taints)
    )


def _holds(requirement: Requirement, node: Node) -> bool:
    """Return whether an expression is true of a node; one that makes no sense is not."""
    key, operator, values = requirement
    value = node.labels.get(key) if key else node.name
    if operator in {"Gt", "Lt"}:
        try:
            have, want = int(value or ""), int(values[0])
        except (ValueError, IndexError):
            return False
        return have > want if operator == "Gt" else have < want
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return answers.get(operator, False)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ ."""
    key, operator, value, effect = toleration
    if effect not in ("", taint.effect):
        return False
    if operator == "Exists":
        return key in ("", taint.key)
    return (key, value) == (taint.key, taint.value)


# --- from the API's documents


def parse_node(body: Mapping[str, Any]) -> Node:
    """Return the record of a Node."""
    meta, spec = body["metadata"], body.get("spec") or {}
    given = (body.get("status") or {}).get("allocatable") or {}
    taints = {
        Taint(taint["key"], taint.get("value") or "", taint["effect"])
        for taint in spec.get("taints") or ()
        if taint["effect"] != "PreferNoSchedule"
    }
    if spec.get("unschedulable"):
        taints.add(Taint(UNSCHEDULABLE, "", "NoSchedule"))
    pods = quantity(given.get("pods", "0"))
    return Node(
        meta["name"],
        meta.get("labels") or {},
        tuple(sorted(taints)),
        _amount(given)._replace(pods=int(pods)),
    )


def parse_pod(body: Mapping[str, Any]) -> Pod:
    """Return the record of a Pod."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    key = Key(meta["namespace"], meta["name"])
    pool = (meta.get("labels") or {}).get(POOL_LABEL)
    over = status.get("phase") in {"Succeeded", "Failed"}
    rejected = status.get("phase") == "Failed" and status.get("reason") in REJECTIONS
    return Pod(
        key=key,
        node=spec.get("nodeName") or "",
        amount=NOTHING if over else requests(spec),
        pool=Key(key.namespace, pool) if pool else None,
        leaving="deletionTimestamp" in meta,
        over=over,
        rejection=status["reason"] if rejected else "",
        message=str(status.get("message") or "")[:200] if rejected else "",
        created=datetime.fromisoformat(meta["creationTimestamp"]),
    )


def parse_needs(pod_spec: Mapping[str, Any], cores: int) -> Needs | None:
    """Return what pods of that PodSpec need; `None` where it says what nobody here understands."""
    try:
        affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        return Needs(
            amount=requests(pod_spec),
            cores=cores,
            selector=tuple(sorted((pod_spec.get("nodeSelector") or {}).items())),
            affinity=None
            if required is None
            else tuple(_term(term) for term in required["nodeSelectorTerms"]),
            tolerations=tuple(_toleration(t) for t in pod_spec.get("tolerations") or ()),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # the API server is about to say what is wrong with it


def _term(term: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """Return what a term demands; the only field that can be matched is the node's name."""
    expressions = [(e["key"], e) for e in term.get("matchExpressions") or ()]
    expressions += [("", e) for e in term.get("matchFields") or ()]
    return tuple(
        Requirement(key, e["operator"], tuple(e.get("values") or ())) for key, e in expressions
    )


def _toleration(toleration: Mapping[str, Any]) -> Toleration:
    return Toleration(
        toleration.get("key") or "",
        toleration.get("operator") or "Equal",
        toleration.get("value") or "",
        toleration.get("effect") or "",
    )


def requests(spec: Mapping[str, Any]) -> Amount:
    """Return what the scheduler reserves for a pod.

    Containers and sidecars add up; what initialises runs before them, one after the other.
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    running, first = NOTHING, NOTHING
    for container in spec.get("initContainers") or ():
        one = _requested(container)
        if container.get("restartPolicy") == "Always":
            running = running.plus(one)
            first = first.largest(running)
        else:
            first = first.largest(running.plus(one))
    for container in spec.get("containers") or ():
        running = running.plus(_requested(container))
    whole = running.largest(first).plus(_amount(spec.get("overhead") or {}))
    of_pod = (spec.get("resources") or {}).get("requests") or {}
    if of_pod:
        stated = _amount(of_pod)
        whole = Amount(
            stated.cpu if "cpu" in of_pod else whole.cpu,
            stated.memory if "memory" in of_pod else whole.memory,
        )
    return whole._replace(pods=1)


def _requested(container: Mapping[str, Any]) -> Amount:
    resources = container.get("resources") or {}
    return _amount({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amount(resources: Mapping[str, Any]) -> Amount:
    cpu, memory = (quantity(resources.get(name, "0")) for name in ("cpu", "memory"))
    return Amount(math.ceil(cpu * 1000), math.ceil(memory), 0)


def quantity(text: object) -> Decimal:
    """Return what a Kubernetes quantity stands for.

    Raises:
        ValueError: it is none.
    """
    digits = str(text).strip()
    number = digits.rstrip("numkKMGTPEi")
    unit = digits[len(number) :]
    if unit == "E" and not number:
        raise ValueError(f"{text!r} is no quantity")
    try:
        return Decimal(number) * _UNITS[unit]
    except (InvalidOperation, KeyError) as error:
        raise ValueError(f"{text!r} is no quantity") from error


def count_taken(pods: Sequence[Pod]) -> dict[str, Amount]:
    """Return what is taken on each node."""
    taken: dict[str, Amount] = {}
    for pod in pods:
        if pod.node and not pod.over:
            taken[pod.node] = taken.get(pod.node, NOTHING).plus(pod.amount)
    return taken
