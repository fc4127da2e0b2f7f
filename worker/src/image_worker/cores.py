"""Which cores this process was really given, and how its children are laid on them.

It knows the kernel's affinity and CFS quota; it must not know Redis or images.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from image_worker.settings import CpuPolicy

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Grant:
    """What the kernel lets this process use; a quota of None is no quota."""

    cpus: frozenset[int]
    quota_cores: float | None


@dataclass(frozen=True, slots=True)
class Layout:
    """One entry per child: the core it is pinned to, or None where nothing may be promised."""

    slots: tuple[int | None, ...]
    sentence: str

    @property
    def pinned(self) -> bool:
        """Say whether each child has a core to itself."""
        return None not in self.slots


def granted(cgroup: Path = CGROUP) -> Grant:
    """Ask the kernel, not the manifest."""
    return Grant(cpus=frozenset(os.sched_getaffinity(0)), quota_cores=_quota_cores(cgroup))


def plan(policy: CpuPolicy, grant: Grant) -> Layout:
    """Lay one child on each whole core of an exclusive grant; else claim nothing."""
    if policy is CpuPolicy.SHARED:
        return Layout((None,), "one process, on whichever core is free (policy Shared)")
    cpus = sorted(grant.cpus)
    if grant.quota_cores is not None and grant.quota_cores < len(cpus):
        # A quota below the affinity means that the cores are shared in time with others.
        count = max(1, math.floor(grant.quota_cores))
        return Layout(
            (None,) * count,
            f"{count} process(es), not pinned: a quota of {grant.quota_cores:g} over "
            f"{len(cpus)} cores is no exclusive grant; is the kubelet's CPU manager static "
            "and the pod Guaranteed?",
        )
    return Layout(tuple(cpus), f"one process pinned to each of the cores {cpus}")


def pin(cpu: int) -> None:
    """Bind the calling process to one core."""
    os.sched_setaffinity(0, {cpu})


def _quota_cores(cgroup: Path) -> float | None:
    """Read cgroup v2's cpu.max, or v1's pair of files; absent and unlimited are both None."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in {"max", "-1"}:
        return None
    return int(quota) / int(period)
