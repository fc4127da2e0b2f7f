"""How many more pods of a kind the nodes have room for. Pure.

Counts as the scheduler does with what matters to whole cores: allocatable CPU, memory and pod
slots minus the requests of what is bound, on the nodes that suit. What it leaves out (topology
spread, pod affinity, volumes, devices) can only make it see too much room: then some pods wait,
as they would have without it.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workerpool_operator.amounts import NOTHING, Amount, requests
from workerpool_operator.model import Places
from workerpool_operator.rejections import refusal
from workerpool_operator.stock import Node, Pod
from workerpool_operator.suitability import ANYWHERE, Wishes, parse_wishes

Room = Mapping[str, Amount]
"""What is left on each node that suits and has a place."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pool's pods ask of a node."""

    amount: Amount
    cores: int
    wishes: Wishes = ANYWHERE


def parse_needs(pod_spec: Mapping[str, Any], cores: int) -> Needs | None:
    """Return what pods of that PodSpec need; `None` where it says what nobody here understands."""
    try:
        return Needs(requests(pod_spec), cores, parse_wishes(pod_spec))
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # the API server is about to say what is wrong with it


def room(needs: Needs, nodes: Iterable[Node], taken: Mapping[str, Amount]) -> Room:
    """Return what is left of `nodes`, from which `taken` is gone, where one more finds a place."""
    left = {
        node.name: node.allocatable.minus(taken.get(node.name, NOTHING))
        for node in nodes
        if needs.wishes.admit(node.traits)
    }
    return {name: rest for name, rest in left.items() if rest.holds(needs.amount)}


def count(needs: Needs, room: Room, promised: Mapping[str, Amount]) -> int:
    """Return how many more pods find a place in `room`, once `promised` is gone from it."""
    return sum(
        rest.minus(promised.get(name, NOTHING)).holds(needs.amount) for name, rest in room.items()
    )


def promise(needs: Needs, pods: int, room: Room, promised: dict[str, Amount]) -> None:
    """Add to `promised` what so many pods will take of `room`, the emptiest node first.

    Where each will stand is the scheduler's to say; for whole cores it matters how many they are.
    """
    left = {name: rest.minus(promised.get(name, NOTHING)) for name, rest in room.items()}
    for name in sorted(left, key=lambda name: (-left[name].cpu, name)):
        here = min(pods, left[name].holds(needs.amount))
        if here:
            promised[name] = promised.get(name, NOTHING).plus(needs.amount.times(here))
            pods -= here


def places(needs: Needs, free: int, pods: Iterable[Pod], at: datetime) -> Places:
    """Return how many replicas have a place or would find one, given all `pods` of the pool.

    A pod that is bound keeps its place, whatever its node admits by now; one on its way out is
    nobody's replica. After a rejection only what a kubelet took in is sure of its place.
    """
    pods = list(pods)
    total = free + sum(1 for pod in pods if pod.placed)
    refused = refusal(pods, needs.cores, at)
    if refused is None:
        return Places(total, needs.cores)
    tried = min(refused.tried, total + 1 - refused.settled)  # one may wait for a node to come
    return Places(refused.settled + tried, needs.cores, refused.words, tried)
