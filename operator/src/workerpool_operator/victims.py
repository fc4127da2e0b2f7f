"""Which pods a scale-in may take. Pure.

A ReplicaSet chooses its victims itself: first by their stage, and only among equals by their
deletion cost, which is all that can be said from outside. So pods go stage by stage, and where a
stage holds a pod that is at work, no later stage can be reached without taking that one.
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from workerpool_operator.model import Decision, Reason

HASH_LABEL = "pod-template-hash"
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


class Stage(IntEnum):
    """How far a pod has come; the least go first, whatever they cost."""

    UNASSIGNED = 0
    PENDING = 1
    UNKNOWN = 2
    NOT_READY = 3
    READY = 4


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that counts as a replica."""

    name: str
    owner: str
    """The uid of its ReplicaSet."""
    stage: Stage = Stage.READY
    cost: int = 0
    """Its deletion cost: of equals, the cheapest go first."""


@dataclass(frozen=True, slots=True)
class Roster:
    """What the queue knows of pods and their work."""

    busy: frozenset[str] = frozenset()
    """Pods that hold a lease."""
    idle_since: Mapping[str, int | None] = field(default_factory=dict)
    """Pods whose workers are known: since when (ms) none of them had a job."""
    nameless: int = 0
    """Leases that do not say which pod holds them."""
    strangers: frozenset[str] = frozenset()
    """Pods whose workers serve other queues than those that were asked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How far down it may go, and who goes."""

    target: int
    victims: tuple[Pod, ...] = ()
    reason: Reason | None = None
    """Why it goes no further, if it does not go as far as it was asked."""
    words: str = ""
    blind: bool = False
    """Nobody says who is at work, so nobody can be chosen."""


def pods_of(bodies: Sequence[Mapping[str, Any]], deployment: str) -> tuple[Pod, ...]:
    """Return the pods that count as replicas: not those on their way out, nor those of others.

    Another controller's pods may have the same labels.
    """
    pods = []
    for body in bodies:
        meta, status = body["metadata"], body.get("status") or {}
        owners = meta.get("ownerReferences") or ()
        owner = next((o for o in owners if o.get("controller")), None)
        over = status.get("phase") in {"Succeeded", "Failed"} or meta.get("deletionTimestamp")
        if over or owner is None or not _made_for(deployment, owner, meta):
            continue
        cost = (meta.get("annotations") or {}).get(COST_ANNOTATION, "")
        pods.append(Pod(meta["name"], owner["uid"], _stage(body, status), _number(cost)))
    return tuple(pods)


def _made_for(deployment: str, owner: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Tell by its name whether a ReplicaSet is a Deployment's.

    To read its owner would be one more right, and one more request with each look.
    https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label
    """
    template = (pod.get("labels") or {}).get(HASH_LABEL)
    return (owner["kind"], owner["name"]) == ("ReplicaSet", f"{deployment}-{template}")


def _stage(body: Mapping[str, Any], status: Mapping[str, Any]) -> Stage:
    if not (body.get("spec") or {}).get("nodeName"):
        return Stage.UNASSIGNED
    if status.get("phase", "Pending") == "Pending":
        return Stage.PENDING
    if status["phase"] == "Unknown":
        return Stage.UNKNOWN
    conditions = status.get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return Stage.READY if ready else Stage.NOT_READY


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0  # as the ReplicaSet takes what is no number


def plan(
    pods: Sequence[Pod], roster: Roster, *, replicas: int, desired: int, rolling: bool
) -> Plan:
    """Say how far from `replicas` towards `desired` it may go, and by which pods.

    Replicas without a pod go first, and need nobody's leave.
    """
    rolling = rolling or len({pod.owner for pod in pods}) > 1
    odd = any(pod.name in roster.strangers for pod in pods)  # of an older template, or unreadable
    if _silent(pods, roster) or (odd and not rolling):
        return Plan(0, blind=True)
    count = max(0, len(pods) - desired)
    victims = _choose(pods, roster, count)
    if rolling and (odd or len(victims) < len(pods)):
        # Several ReplicaSets share the loss in a way of their own: only all or none is safe.
        return Plan(replicas, (), Reason.ROLLING_OUT, "a rollout is under way")
    target = min(replicas, max(desired, len(pods) - len(victims)))
    if len(victims) == count:
        return Plan(target, victims)
    idle = sum(pod.name not in roster.busy for pod in pods)
    held = "" if idle == len(victims) else ", and one that is not ready has a job"
    return Plan(target, victims, Reason.BUSY, f"only {idle} of {len(pods)} pods are idle{held}")


def _silent(pods: Sequence[Pod], roster: Roster) -> bool:
    """Return whether the workers do not say what they do: another image, or an older one."""
    ready = [pod.name for pod in pods if pod.stage is Stage.READY]
    known = roster.busy | roster.idle_since.keys()
    return roster.nameless > 0 or (bool(ready) and known.isdisjoint(ready))


def _choose(pods: Sequence[Pod], roster: Roster, count: int) -> tuple[Pod, ...]:
    """Return up to `count` pods without work, in the order in which the ReplicaSet takes them."""
    chosen: list[Pod] = []
    for stage in Stage:
        group = [pod for pod in pods if pod.stage is stage]
        free = [pod for pod in group if pod.name not in roster.busy]
        chosen += sorted(free, key=lambda pod: _first_to_go(pod, roster))[: count - len(chosen)]
        if len(free) < len(group):
            break
    return tuple(chosen)


def _first_to_go(pod: Pod, roster: Roster) -> tuple[int, bool, int, str]:
    """Sort key: the cheapest, which are on their way already, then those that are idle longest.

    Of a pod that nobody knows yet, nobody knows how long it was idle: last.
    """
    since = roster.idle_since.get(pod.name)
    return pod.cost, since is None, since or 0, pod.name


def costs(pods: Sequence[Pod], victims: Collection[Pod]) -> dict[str, int]:
    """Return the deletion costs to be written, so that every victim is cheaper than all others.

    Cheaper than what is there, whatever that is: costs that were left behind do no harm.
    """
    others = [pod.cost for pod in pods if pod not in victims]
    if not others:
        return {}
    least = min(0, *others)
    return {pod.name: least - 1 for pod in victims if pod.cost >= least}


def hold_back(decision: Decision, count: int, reason: Reason, words: str) -> Decision:
    """Return `decision`, going no further down than `count`."""
    inputs = decision.message.rpartition(": ")[0]
    replicas = "1 replica" if count == 1 else f"{count} replicas"
    message = f"{inputs}, but {words}: {replicas}"
    return replace(decision, desired=count, reason=reason, message=message)
