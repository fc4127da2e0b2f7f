"""What a child's core is really like, as the kernel counted it: told to whoever asks in Redis.

It knows the kernel's counters and how a difference of two becomes a rate; it must not know
Redis, nor judge: thresholds are the reader's.  An empty text means that the kernel does not say.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from image_worker import cores, machine
from image_worker.cores import Grant
from image_worker.machine import Topology, Virtualisation
from image_worker.settings import CpuPolicy

SAMPLE_SECONDS = 5.0
"""Counters are read at most this often, so that evidence costs nothing that could be seen."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Counters:
    """One child at one instant; all but the time only ever grow."""

    at: float
    pid: int
    cpus: frozenset[int]
    migrations: int | None = None
    """Moves from one CPU to another."""
    switches: int | None = None
    """Times it had to yield to another process although it wanted to go on."""
    waited: float | None = None
    """Seconds for which it was ready to run and another ran."""
    throttled: float | None = None
    """Seconds for which the cgroup's quota held everybody back."""
    stolen: int | None = None
    """Ticks in which the hypervisor ran others on these CPUs."""
    ticks: int | None = None
    """Ticks of these CPUs, all kinds."""


class Witness:
    """Watches the children of one supervisor."""

    def __init__(
        self,
        policy: CpuPolicy,
        grant: Callable[[], Grant],
        topology: Callable[[], Topology],
        virtualisation: Virtualisation,
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._grant = grant
        self._topology = topology
        self._virtualisation = virtualisation
        self._clock = clock
        self._seen: dict[str, Counters] = {}
        self._said: dict[str, Mapping[str, str]] = {}

    def testify(self, worker: str, pid: int | None) -> Mapping[str, str]:
        """Return the fields of a worker's record that tell of its child and its core."""
        before, now = self._seen.get(worker), self._clock()
        fresh = before is not None and before.pid == pid and now - before.at < SAMPLE_SECONDS
        if pid is None or fresh:
            return self._said.get(worker, {})
        try:
            seen = read(pid, now)
        except (OSError, ValueError):
            # It has just ended, or this kernel writes something else; the heart must go on.
            return self._said.get(worker, {})
        self._seen[worker] = seen
        self._said[worker] = self._constant(seen) | rates(before, seen)
        return self._said[worker]

    def _constant(self, seen: Counters) -> dict[str, str]:
        grant, topology = self._grant(), self._topology()
        siblings = (topology.siblings_of(cpu) for cpu in seen.cpus)
        nodes = {topology.nodes[cpu] for cpu in seen.cpus if cpu in topology.nodes}
        return {
            "policy": str(self._policy),
            "affinity": machine.write_list(seen.cpus),
            "siblings": machine.write_list(frozenset[int]().union(*siblings)),
            "numa": machine.write_list(nodes),
            "granted": machine.write_list(grant.cpus),
            "online": machine.write_list(grant.online),
            "virtualisation": str(self._virtualisation),
        }


def read(pid: int, now: float, proc: Path = PROC) -> Counters:
    """Read a process's counters; raises OSError when it is gone."""
    cpus = cores.affinity(pid)
    of_cpus = steal(_text(proc / "stat"), cpus)
    return Counters(
        at=now,
        pid=pid,
        cpus=cpus,
        migrations=number(_text(proc / str(pid) / "sched"), "se.nr_migrations"),
        switches=number(_text(proc / str(pid) / "status"), "nonvoluntary_ctxt_switches"),
        waited=waited(_text(proc / str(pid) / "schedstat")),
        throttled=cores.throttling(),
        stolen=of_cpus and of_cpus[0],
        ticks=of_cpus and of_cpus[1],
    )


def rates(before: Counters | None, after: Counters) -> dict[str, str]:
    """Return what happened between two looks at the same process on the same CPUs."""
    if before is not None and (before.pid, before.cpus) != (after.pid, after.cpus):
        before = None
    seconds = after.at - before.at if before else 0.0

    def per(span: float | None, old: float | None, new: float | None) -> str:
        if old is None or new is None or not span or span < 0:
            return ""
        return f"{max(0.0, (new - old) / span):.4g}"

    def part(span: float | None, old: float | None, new: float | None) -> str:
        # A kernel adds up throttling over all CPUs, and no two of its counters stand still
        # while the clock is read.
        share = per(span, old, new)
        return share and f"{min(1.0, float(share)):.4g}"

    ticks = after.ticks - before.ticks if before and before.ticks and after.ticks else None
    past = before or after
    return {
        "migrations_per_second": per(seconds, past.migrations, after.migrations),
        "switches_per_second": per(seconds, past.switches, after.switches),
        "waited": part(seconds, past.waited, after.waited),
        "throttled": part(seconds, past.throttled, after.throttled),
        "stolen": part(ticks, past.stolen, after.stolen),
    }


def number(text: str, name: str) -> int | None:
    """Find `name : 12` in /proc/<pid>/sched or status; a kernel may leave it out."""
    match = re.search(rf"^{re.escape(name)}\s*:\s*(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else None


def waited(text: str) -> float | None:
    """Read /proc/<pid>/schedstat: nanoseconds run, nanoseconds waited for a CPU, time slices."""
    match = re.fullmatch(r"\d+ (\d+) \d+\s*", text)
    return int(match[1]) / 1e9 if match else None


def steal(text: str, cpus: frozenset[int]) -> tuple[int, int] | None:
    """Sum the stolen ticks, and all ticks, of these CPUs in /proc/stat.

    The columns are user nice system idle iowait irq softirq steal; what follows is counted in
    the first two already.
    """
    stolen, ticks = 0, 0
    for match in re.finditer(r"^cpu(\d+) ((?:\d+ ?){8})", text, re.MULTILINE):
        if int(match[1]) in cpus:
            columns = list(map(int, match[2].split()))
            stolen, ticks = stolen + columns[-1], ticks + sum(columns)
    return (stolen, ticks) if ticks else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
