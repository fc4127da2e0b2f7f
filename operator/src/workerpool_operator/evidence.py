"""What workers tell of their cores → what may be said of the pool. Pure.

The promise of `Exclusive` is proven from inside the pods or not made: each worker writes down
what its kernel counts (docs/protocol.md), and this module judges. Whoever can write to the
queue's Redis can write such reports, so nothing here trusts their form.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workerpool_operator.errors import Unreadable
from workerpool_operator.resource import Condition, Key, Pool

FIELDS = (
    *("namespace", "pool", "pod", "node", "affinity", "virtualisation", "region"),
    *("stolen", "waited", "throttled", "switches_per_second", "migrations_per_second"),
    "started",
)
"""What is read of a worker's record, in this order."""
WORDS = 7
"""How many of them are words; figures follow."""
SHARED_KERNEL = "container"
STOLEN_MOST = 0.05
"""Of a core's time; beyond, other virtual machines slow the pool down so that people notice."""
WAITED_MOST = 0.05
"""Of a worker's time; beyond, something else runs on its core."""
THROTTLED_MOST = 0.01
WORD_LONGEST = 253
CPUS_MOST = 4096


class Trouble(StrEnum):
    """What keeps a worker from having a core to itself; the reason of the condition."""

    STOLEN = "Stolen"
    CROWDED = "Crowded"
    THROTTLED = "Throttled"


_WORDS = {
    Trouble.STOLEN: "of its core's time went to other virtual machines (steal)",
    Trouble.CROWDED: "of its time it waited, because something else ran on its core",
    Trouble.THROTTLED: "of its time a CPU quota held it back",
}


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
    namespace, pool, pod, node, affinity, virtualisation, region = map(_word, values[:WORDS])
    stolen, waited, throttled, switches, migrations, started = map(_number, values[WORDS:])
    return Report(
        worker=_word(worker),
        pool=Key(namespace, pool),
        pod=pod,
        node=node,
        cpus=_cpus(affinity),
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


def conditions(pool: Pool, survey: Survey | Unreadable | None) -> list[Condition]:
    """Return `CPUPinned` and `Isolated`."""
    kinds = ("CPUPinned", "Isolated")
    if pool.cpu.cores is None:
        words = "spec.cpu.policy is Shared: no core is promised to any worker."
        return [Condition(kind, "False", "SharedPolicy", words) for kind in kinds]
    if isinstance(survey, Unreadable):
        return [Condition(kind, "Unknown", survey.reason, str(survey)) for kind in kinds]
    reports = survey.of(pool.key) if survey else ()
    if survey is None or not reports:
        words = "No worker tells of its core."
        if survey is not None and survey.workers == 0:
            words = "There is no worker to tell of its core."
        return [Condition(kind, "Unknown", "NoEvidence", words) for kind in kinds]
    return [_pinned(survey, reports), _isolated(survey, reports)]


def _pinned(survey: Survey, reports: Sequence[Report]) -> Condition:
    kind = "CPUPinned"
    if contested := _contested(survey.reports):
        return Condition(kind, "False", "CoreShared", contested)
    loose = [r for r in reports if len(r.cpus) > 1]
    if loose:
        worst = max(loose, key=lambda r: (len(r.cpus), r.where))
        return Condition(
            kind,
            "False",
            "NotPinned",
            f"{_count(loose, reports)} not pinned; {worst.where} may run on {len(worst.cpus)} "
            "CPUs: set the kubelet's cpuManagerPolicy to static there (docs/placement.md).",
        )
    return Condition(kind, "True", "Pinned", f"{_count(reports, reports)} pinned to a core each.")


def _isolated(survey: Survey, reports: Sequence[Report]) -> Condition:
    kind = "Isolated"
    if contested := _contested(survey.reports):
        return Condition(kind, "False", "CoreShared", contested)
    troubled = [(r.trouble, r) for r in reports if r.trouble]
    if troubled:
        (share, trouble), worst = max(troubled, key=lambda pair: (pair[0] or (), pair[1].where))
        return Condition(
            kind,
            "False",
            str(trouble),
            f"{_count(troubled, reports)} disturbed; worst is {worst.where}: {share:.0%} "
            f"{_WORDS[trouble]}.",
        )
    if loose := [r for r in reports if len(r.cpus) > 1]:
        words = f"{_count(loose, reports)} not pinned: others may run on the same cores."
        return Condition(kind, "False", "NotPinned", words)
    blind = [r for r in reports if r.virtualisation.startswith(SHARED_KERNEL)]
    if blind:
        return Condition(
            kind,
            "Unknown",
            "SharedKernel",
            f"{_count(blind, reports)} on a machine that shares its kernel with strangers "
            f"({blind[0].virtualisation}, {blind[0].where}): what they take cannot be seen. Use "
            "KVM or bare metal.",
        )
    if all(r.waited is None for r in reports):
        return Condition(kind, "Unknown", "NoEvidence", "No worker tells how it is disturbed.")
    words = f"{_count(reports, reports)} undisturbed: no steal, waiting or throttling to speak of."
    return Condition(kind, "True", "Undisturbed", words)


def gauges(pool: Key, survey: Survey) -> Mapping[str, float]:
    """Return the figures for metrics; of shares and rates, the worst."""
    reports = survey.of(pool)
    worst = {
        "cpu_steal_ratio": [r.stolen for r in reports],
        "cpu_wait_ratio": [r.waited for r in reports],
        "cpu_throttled_ratio": [r.throttled for r in reports],
        "involuntary_switches_per_second": [r.switches_per_second for r in reports],
        "core_migrations_per_second": [r.migrations_per_second for r in reports],
    }
    known = {name: [v for v in values if v is not None] for name, values in worst.items()}
    return {
        "surveyed_workers": len(reports),
        "pinned_workers": sum(len(r.cpus) == 1 for r in reports),
        "shared_cores": len(_crowds(survey.reports)),
        "external_workers": survey.external(pool),
        **{name: max(values) for name, values in known.items() if values},
    }


def _crowds(reports: Iterable[Report]) -> Mapping[tuple[str, int], Sequence[Report]]:
    """Return the CPUs to which more than one worker is pinned, and these workers."""
    by_cpu = defaultdict(list)
    for report in reports:
        if len(report.cpus) == 1 and report.node:
            by_cpu[report.node, min(report.cpus)].append(report)
    return {place: crowd for place, crowd in by_cpu.items() if len(crowd) > 1}


def _contested(reports: Iterable[Report]) -> str:
    """Say which core has more than one worker, and whose; nothing if none has."""
    crowds = _crowds(reports)
    if not crowds:
        return ""
    (node, cpu), crowd = max(crowds.items(), key=lambda item: (len(item[1]), item[0]))
    names = ", ".join(sorted({r.pod or f"worker {r.worker}" for r in crowd}))
    return (
        f"{len(crowds)} core(s) have more than one worker: CPU {cpu} of {node} has {len(crowd)} "
        f"({names})."
    )


def _count(some: Sequence[object], reports: Sequence[Report]) -> str:
    if len(reports) == 1:
        return "The one worker that tells of its core is"
    return f"{len(some)} of {len(reports)} workers that tell of their cores are"


def _word(value: bytes | str | None) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value or ""
    return text[:WORD_LONGEST] if text.isprintable() else ""


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
