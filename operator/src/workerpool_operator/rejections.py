"""What it means that a kubelet turned a pool's pods away, and how to go on. Pure.

Each pod that is turned away is made again by its ReplicaSet, bound to the same node, and turned
away again, every second or more often. So none is tried for a while, and then one; the more it
turns away, the longer the wait, and the more it takes in, the more are tried together.
"""

import re
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

# What follows is in the words of Kubernetes 1.36's kubelet; others may word it differently.
NO_CORES_FREE = "not enough free physical CPUs"
_THREADS = re.compile(r"cpus per core = (\d{1,3})\b", re.IGNORECASE)
_TAKEN = (
    "its cores are taken by something that the scheduler does not count. A pod that is just "
    "ending gives them back; else look on the node who has them "
    "(/var/lib/kubelet/cpu_manager_state), and"
)
_REMEDIES = {
    "SMTAlignmentError": f"{_TAKEN} reserve all hardware threads of a core or none "
    "(reservedSystemCPUs)",
    "UnexpectedAdmissionError": f"{_TAKEN} reserve whole CPUs (reservedSystemCPUs)",
    "TopologyAffinityError": "its free cores are of several memory nodes, and its Topology "
    "Manager insists on one: set spec.cpu.cores to what one memory node has free, or the "
    "kubelet's topologyManagerPolicy to best-effort",
    "OutOfcpu": "pods run there that the scheduler did not place (static pods, spec.nodeName, "
    "another scheduler): move them, or have the node reserve what they take (systemReserved)",
}
_UNKNOWN = "that is not about cores, so see kubectl describe pod, and the log of its kubelet"


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
    threads = _THREADS.search(pod.message)
    if pod.rejection == "SMTAlignmentError" and NO_CORES_FREE not in pod.message:
        return (
            f"the node {pod.node} gives out whole physical cores only (full-pcpus-only): set "
            f"{_whole_cores(cores, int(threads[1]) if threads else 0)} (SMTAlignmentError)"
        )
    told = f": {pod.message}" if pod.message else ""
    return (
        f"the node {pod.node} turned a pod away ({pod.rejection}{told}): "
        f"{_REMEDIES.get(_kind(pod), _UNKNOWN)}"
    )


def _whole_cores(cores: int, threads: int) -> str:
    """Say what a pool has to ask for; without a number where nobody told how many threads."""
    if threads < 1:
        return (
            "spec.cpu.threadsPerCore to the hardware threads of its cores and spec.cpu.cores to "
            "a multiple of them"
        )
    whole = -(-cores // threads) * threads
    return f"spec.cpu.cores: {whole} and spec.cpu.threadsPerCore: {threads}"


def _kind(pod: Pod) -> str:
    unexpected = pod.rejection == "UnexpectedAdmissionError"
    return "" if unexpected and "cpu" not in pod.message.lower() else pod.rejection
