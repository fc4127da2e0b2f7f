"""Which cores this process was really given, and how its children are laid on them.

It knows the kernel's affinity, cpusets and CFS quota; it must not know Redis or images.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from image_worker.machine import Topology, parse_list, write_list
from image_worker.settings import CpuPolicy, CpuSettings

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
ONLINE = Path("/sys/devices/system/cpu/online")
LINE_PARTS = 3
PAIR = 2
"""A quota and its period."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the kernel lets this process use; a quota of None is no quota."""

    cpus: frozenset[int]
    quota_cores: float | None
    online: frozenset[int] = frozenset()
    """All CPUs that the machine runs: with one of them, threads of a core come and go."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One slot per child: the CPU it is pinned to, or None where nothing may be promised."""

    slots: tuple[int | None, ...]
    sentence: str
    spare: frozenset[int] = frozenset()
    """Granted, and no child's: room for what the supervisor does itself."""

    @property
    def pinned(self) -> bool:
        """Say whether each child has a core to itself."""
        return None not in self.slots and len(set(self.slots)) == len(self.slots)


def granted(cgroup: Path = CGROUP, own: Path = OWN_CGROUP, online: Path = ONLINE) -> Grant:
    """Ask the kernel, not the manifest; call from the main thread, which is never pinned."""
    folders = _folders(cgroup, own)
    affinity = frozenset(os.sched_getaffinity(0))
    cpuset = _cpuset(folders)
    # Outside a container the folder may be another's: then only the affinity counts.
    return Grant(
        cpus=affinity & cpuset or affinity,
        quota_cores=_quota_cores(folders),
        online=parse_list(_first([online.parent], online.name) or ""),
    )


def plan(wish: CpuSettings, grant: Grant, topology: Topology) -> Layout:
    """Lay one child on each core of an exclusive grant; else claim nothing."""
    if wish.policy is CpuPolicy.SHARED:
        return Layout((None,), "one process, on whichever core is free (policy Shared)")
    cores = _physical(grant.cpus, topology, wish.threads_per_core)
    most = min(
        (limit for limit in (grant.quota_cores, wish.cores) if limit is not None),
        default=math.inf,
    )
    if most < len(grant.cpus):
        # More cores than were asked for, or than the quota pays, are no cores of our own.
        count = max(1, math.floor(most) // wish.threads_per_core)
        return Layout(
            (None,) * count,
            f"{count} process(es), not pinned: {most:g} over {len(grant.cpus)} cores is no "
            "exclusive grant; is the kubelet's CPU manager static and the pod Guaranteed?",
        )
    slots = tuple(core[0] for core in cores)
    spare = grant.cpus - set(slots)
    rest = f"; the supervisor keeps to {write_list(spare)}" if spare else ""
    return Layout(slots, f"one process pinned to each of the cores {list(slots)}{rest}", spare)


def relaid(layout: Layout, before: tuple[int | None, ...]) -> Layout:
    """Lay the children that there are as `layout` wants, moving as few as possible.

    The number of children stays: too few cores are shared, and cores too many left to the
    supervisor, until a restart; the sentence says so.
    """
    wanted = [cpu for cpu in layout.slots if cpu is not None]
    if len(wanted) < len(layout.slots):
        return replace(layout, slots=(None,) * len(before))
    free = [cpu for cpu in wanted if cpu not in before]
    slots: list[int] = []
    for number, cpu in enumerate(before):
        if cpu is not None and cpu in wanted and cpu not in slots:
            slots.append(cpu)
        elif free:
            slots.append(free.pop(0))
        else:
            slots.append(wanted[number % len(wanted)])
    sentence = layout.sentence
    if len(wanted) != len(before):
        sentence = (
            f"{len(before)} process(es) on the cores {sorted(set(slots))}; a restart would "
            f"run {len(wanted)}, one for each core"
        )
    return Layout(tuple(slots), sentence, layout.spare | (set(wanted) - set(slots)))


def pin(cpus: Iterable[int], task: int = 0) -> None:
    """Bind a thread, by default the calling one, to these CPUs."""
    os.sched_setaffinity(task, cpus)


def affinity(task: int) -> frozenset[int]:
    """Return where a thread may run."""
    return frozenset(os.sched_getaffinity(task))


def _physical(cpus: frozenset[int], topology: Topology, threads: int) -> list[tuple[int, ...]]:
    """Part the CPUs into cores of at most so many hardware threads, lowest first."""
    cores: list[tuple[int, ...]] = []
    left = set(cpus)
    while left:
        together = sorted(topology.siblings_of(min(left)) & left)
        cores.append(tuple(together[:threads]))
        left -= set(cores[-1])
    return cores


def _folders(cgroup: Path, own: Path) -> dict[str, list[Path]]:
    """Return where each controller's files of our cgroup may lie, and of those above it.

    In a container the root of the mount is ours already; elsewhere our path leads down from it.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    paths = {
        controller: path.lstrip("/")
        for _, controllers, path in (line for line in lines if len(line) == LINE_PARTS)
        for controller in controllers.split(",")
    }
    unified = _upwards(cgroup, paths.get("", ""))
    return {
        "": unified,
        **{name: _upwards(cgroup / name, paths.get(name, "")) for name in ("cpu", "cpuset")},
    }


def _upwards(mount: Path, path: str) -> list[Path]:
    group = mount / path
    above = [folder for folder in group.parents if mount in {folder, *folder.parents}]
    return [group, *above]


def _first(folders: Iterable[Path], *names: str) -> str | None:
    for folder in folders:
        for name in names:
            try:
                return (folder / name).read_text().strip()
            except OSError:
                continue
    return None


def _cpuset(folders: dict[str, list[Path]]) -> frozenset[int]:
    """Read cgroup v2's effective cpuset, or v1's; unknown and empty are both empty."""
    text = _first(folders[""], "cpuset.cpus.effective")
    if text is None:
        text = _first(folders["cpuset"], "cpuset.effective_cpus", "cpuset.cpus")
    return parse_list(text or "")


def _quota_cores(folders: dict[str, list[Path]]) -> float | None:
    """Return the least quota of our cgroup and all above it; absent and unlimited are None.

    A pod or a slice may have one where the container or the service has none.
    """
    unified = (_first([folder], "cpu.max") for folder in folders[""])
    pairs = [text.split() for text in unified if text]
    if not pairs:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        texts = ([_first([folder], name) for name in names] for folder in folders["cpu"])
        pairs = [[text for text in pair if text] for pair in texts]
    return min(
        (
            int(pair[0]) / int(pair[1])
            for pair in pairs
            if len(pair) == PAIR and pair[0].isdecimal()
        ),
        default=None,
    )


def throttling(cgroup: Path = CGROUP, own: Path = OWN_CGROUP) -> float | None:
    """Return the seconds for which a quota, ours or one above, has held us back so far."""
    folders = _folders(cgroup, own)
    found = [
        seconds
        for folder in (*folders[""], *folders["cpu"])
        if (seconds := _throttled(_first([folder], "cpu.stat") or "")) is not None
    ]
    return sum(found) if found else None


def _throttled(stat: str) -> float | None:
    fields = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
    if "throttled_usec" in fields:
        return int(fields["throttled_usec"]) / 1e6
    if "throttled_time" in fields:
        return int(fields["throttled_time"]) / 1e9
    return None
