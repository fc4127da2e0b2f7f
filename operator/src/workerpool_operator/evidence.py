"""What workers tell of their cores: records of Redis (docs/protocol.md) → reports. Pure.

Whoever can write to the queue's Redis can write such records, so nothing here trusts their form.
What follows from the reports is not said here.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workerpool_operator.resource import Key

FIELDS = (
    *("namespace", "pool", "pod", "node", "virtualisation", "region"),
    *("affinity", "siblings", "granted", "online"),
    *("stolen", "waited", "throttled", "switches_per_second", "migrations_per_second"),
    "started",
)
"""What is read of a worker's record, in this order."""
WORDS = 6
"""How many of them are words."""
LISTS = 4
"""How many lists of CPUs follow; then come figures."""
STOLEN_MOST = 0.05
"""Of a core's time; beyond, other virtual machines slow the pool down so that people notice."""
WAITED_MOST = 0.05
"""Of a worker's time; beyond, something else runs on its core."""
THROTTLED_MOST = 0.01
WORD_LONGEST = 253
LIST_LONGEST = 2048
"""Every other one of a thousand CPUs."""
CPUS_MOST = 4096


class Trouble(StrEnum):
    """What keeps a worker from having a core to itself; the reason of the condition."""

    STOLEN = "Stolen"
    CROWDED = "Crowded"
    THROTTLED = "Throttled"


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker tells; `None` is what its kernel does not say."""

    worker: str
    pool: Key
    """Whose it is; with empty names, it was told of none."""
    pod: str = ""
    node: str = ""
    cpus: frozenset[int] = frozenset()
    """Where it may run; empty if it does not tell."""
    siblings: frozenset[int] = frozenset()
    """All hardware threads of these cores; empty if it does not tell."""
    granted: frozenset[int] = frozenset()
    """What its container was given, the supervisor's part too; empty if it does not tell."""
    everything: bool = False
    """Whether that is every CPU that its node runs."""
    virtualisation: str = ""
    region: str = ""
    stolen: float | None = None
    """The part of its core's time that the hypervisor gave to others."""
    waited: float | None = None
    """The part of its time in which it could have run and another did."""
    throttled: float | None = None
    switches_per_second: float | None = None
    migrations_per_second: float | None = None
    started: float = 0.0
    """When its supervisor started, in ms; one process of a pod after the other."""

    @property
    def where(self) -> str:
        """Name the pod and its node."""
        return f"{self.pod or f'worker {self.worker}'} on {self.node or 'an unknown node'}"

    @property
    def core(self) -> tuple[str, int] | None:
        """Return the physical core that it has to itself: the node, and the first CPU of it."""
        if len(self.cpus) != 1 or not self.node:
            return None
        return self.node, min(self.cpus | self.siblings)

    @property
    def strange(self) -> frozenset[int]:
        """Return the hardware threads of its core that its container was not given."""
        return self.siblings - self.granted if self.granted else frozenset()

    @property
    def trouble(self) -> tuple[float, Trouble] | None:
        """Return the worst that disturbs it and its share of time, if that is too much."""
        found = [
            (share, kind)
            for kind, share, most in (
                (Trouble.STOLEN, self.stolen, STOLEN_MOST),
                (Trouble.CROWDED, self.waited, WAITED_MOST),
                (Trouble.THROTTLED, self.throttled, THROTTLED_MOST),
            )
            if share is not None and share > most
        ]
        return max(found, default=None)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the workers of one queue tell, as far as they were asked."""

    workers: int = 0
    """Workers alive."""
    reports: tuple[Report, ...] = ()
    """Of all of them, or of a sample."""
    beside: tuple[Report, ...] = ()
    """Workers of other queues on the same cores."""

    def of(self, pool: Key) -> tuple[Report, ...]:
        """Return the reports of the pool's own pods that tell of a core."""
        return tuple(r for r in self.reports if r.pool == pool and r.pod and r.cpus)

    def external(self, pool: Key) -> int:
        """Return how many workers are in no pod of the pool; from a sample, an estimate."""
        if not self.reports:
            return 0
        strangers = sum(r.pool != pool or not r.pod for r in self.reports)
        return round(strangers * self.workers / len(self.reports))


def parse(worker: str, values: Sequence[bytes | str | None]) -> Report:
    """Read a worker's record: the values of FIELDS."""
    lists, figures = values[WORDS : WORDS + LISTS], values[WORDS + LISTS :]
    namespace, pool, pod, node, virtualisation, region = map(_word, values[:WORDS])
    affinity, siblings, granted, online = map(_list, lists)
    stolen, waited, throttled, switches, migrations, started = map(_number, figures)
    return Report(
        worker=_word(worker),
        pool=Key(namespace, pool),
        pod=pod,
        node=node,
        cpus=_cpus(affinity),
        siblings=_cpus(siblings),
        granted=_cpus(granted),
        everything=granted == online and bool(_cpus(granted)),
        virtualisation=virtualisation,
        region=region,
        stolen=stolen,
        waited=waited,
        throttled=throttled,
        switches_per_second=switches,
        migrations_per_second=migrations,
        started=started or 0.0,
    )


def current(reports: Iterable[Report]) -> tuple[Report, ...]:
    """Leave out whom a restart of their container has replaced: they are missed a lease later."""
    reports = tuple(reports)
    newest: dict[tuple[Key, str], float] = defaultdict(float)
    for report in reports:
        pod = report.pool, report.pod
        newest[pod] = max(newest[pod], report.started)
    return tuple(r for r in reports if not r.pod or r.started >= newest[r.pool, r.pod])


def _word(value: bytes | str | None) -> str:
    text = _text(value)
    return text[:WORD_LONGEST] if text.isprintable() else ""


def _list(value: bytes | str | None) -> str:
    text = _text(value)
    return text if len(text) <= LIST_LONGEST else ""  # a part of it would be another list


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _number(value: bytes | str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _cpus(text: str) -> frozenset[int]:
    """Read the kernel's list of CPUs, such as `0-3,8`; nothing if it is none."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            return frozenset()
        cpus |= set(range(int(first), min(int(last or first), CPUS_MOST) + 1))
    return frozenset(cpus)
