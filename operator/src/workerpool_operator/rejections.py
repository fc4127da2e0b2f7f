"""What it means that a kubelet turned a pool's pods away, and how to go on. Pure.

Each pod that is turned away is made again by its ReplicaSet, bound to the same node, and turned
away again, every second or more often. So none is tried for a while, and then one; the more it
turns away, the longer the wait, and the more it takes in, the more are tried together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from workerpool_operator.stock import Pod

HOLD = timedelta(seconds=10)
"""How long after an attempt failed none is made; twice as long after each one more that failed."""
ONE_ATTEMPT = timedelta(seconds=5)
"""Rejections that follow upon each other within this time are of one attempt: until the operator
has heard of the first, others are made."""
HOLD_LONGEST = timedelta(minutes=5)
REMEMBERED = timedelta(minutes=30)
"""For how long a rejection counts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Pods were turned away lately."""

    settled: int
    """How many of the pool's pods have a place and were taken in."""
    tried: int
    """How many more may be tried now."""
    words: str
    """Who turned one away, why, and what helps; a clause."""


def refusal(pods: Sequence[Pod], cores: int, at: datetime) -> Refusal | None:
    """Return what to make of all `pods` of a pool whose workers ask for so many whole `cores`.

    Pods that asked for another number of cores say nothing of those that are made now.
    """
    refused = sorted(
        (
            pod
            for pod in pods
            if pod.rejection and at - pod.since < REMEMBERED and pod.worker_cpu == cores * 1000
        ),
        key=lambda pod: pod.since,
    )
    if not refused:
        return None
    last, failed = (
        refused[-1],
        1
        + sum(later.since - earlier.since >= ONE_ATTEMPT for earlier, later in pairwise(refused)),
    )
    settled = [pod for pod in pods if pod.placed and pod.admitted]
    held = at - last.since < min(HOLD_LONGEST, HOLD * 2 ** min(failed - 1, 16))
    since_then = sum(1 for pod in settled if pod.since > last.since)
    return Refusal(len(settled), 0 if held else 1 + since_then, _words(last, cores))


def _words(pod: Pod, cores: int) -> str:
    if pod.rejection == "SMTAlignmentError":
        whole = max(2, cores + cores % 2)
        return (
            f"the node {pod.node} gives out whole physical cores only (full-pcpus-only): set "
            f"spec.cpu.cores: {whole} and spec.cpu.threadsPerCore: 2 (SMTAlignmentError)"
        )
    told = f": {pod.message}" if pod.message else ""
    return (
        f"the node {pod.node} turned a pod away ({pod.rejection}{told}): its cores are taken by "
        f"something that the scheduler does not count, or spread as its policy forbids"
    )
