"""What workers tell of their cores → what may be said of the pool. Pure.

The promise of `Exclusive` is proven from inside the pods or not made: each worker writes down
what its kernel counts (`evidence`), and this module judges.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Report, Survey, Trouble
from workerpool_operator.resource import Condition, Key, Pool

PINNED, ISOLATED = "CPUPinned", "Isolated"
SHARED_KERNEL = "container"
STATIC = "set the kubelet's cpuManagerPolicy to static there (docs/placement.md)"
_WORDS = {
    Trouble.STOLEN: "of its core's time went to other virtual machines (steal)",
    Trouble.CROWDED: "of its time it waited, because something else ran on its core",
    Trouble.THROTTLED: "of its time a CPU quota held it back",
}


def conditions(pool: Pool, survey: Survey | Unreadable | None) -> list[Condition]:
    """Return `CPUPinned` and `Isolated`."""
    kinds = (PINNED, ISOLATED)
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
    return [_pinned(pool, survey, reports), _isolated(pool, survey, reports)]


def _pinned(pool: Pool, survey: Survey, reports: Sequence[Report]) -> Condition:
    if contested := _contested(pool.key, _crowds(survey, _cpu)):
        return Condition(PINNED, "False", "CoreShared", contested)
    if loose := [r for r in reports if len(r.cpus) > 1]:
        worst = max(loose, key=lambda r: (len(r.cpus), r.where))
        return Condition(
            PINNED,
            "False",
            "NotPinned",
            f"{_count(loose, reports)} not pinned; {worst.where} may run on {len(worst.cpus)} "
            f"CPUs: {STATIC}.",
        )
    if given := [r for r in reports if r.everything]:
        return Condition(
            PINNED,
            "False",
            "NotExclusive",
            f"{_count(given, reports)} given every CPU of a node, as {given[0].where}, and a "
            f"kubelet that gives cores away always keeps some back: {STATIC}.",
        )
    return Condition(
        PINNED, "True", "Pinned", f"{_count(reports, reports)} pinned to a core each."
    )


def _isolated(pool: Pool, survey: Survey, reports: Sequence[Report]) -> Condition:
    for place in (_cpu, _core):
        if contested := _contested(pool.key, _crowds(survey, place)):
            return Condition(ISOLATED, "False", "CoreShared", contested)
    words = f"{_count(reports, reports)} undisturbed: no steal, waiting or throttling to speak of."
    return (
        _disturbed(reports)
        or _not_alone(reports)
        or _unseen(pool, reports)
        or Condition(ISOLATED, "True", "Undisturbed", words)
    )


def _disturbed(reports: Sequence[Report]) -> Condition | None:
    troubled = [(r.trouble, r) for r in reports if r.trouble]
    if not troubled:
        return None
    (share, trouble), worst = max(troubled, key=lambda pair: (pair[0] or (), pair[1].where))
    return Condition(
        ISOLATED,
        "False",
        str(trouble),
        f"{_count(troubled, reports)} disturbed; worst is {worst.where}: {share:.0%} "
        f"{_WORDS[trouble]}.",
    )


def _not_alone(reports: Sequence[Report]) -> Condition | None:
    """Say who may be disturbed by others at any time, though nobody is seen to do so now."""
    if loose := [r for r in reports if len(r.cpus) > 1]:
        words = f"{_count(loose, reports)} not pinned: others may run on the same cores."
        return Condition(ISOLATED, "False", "NotPinned", words)
    if given := [r for r in reports if r.everything]:
        words = f"{_count(given, reports)} given every CPU of a node, where all others run, too."
        return Condition(ISOLATED, "False", "NotExclusive", words)
    if split := [r for r in reports if r.strange]:
        first = split[0]
        return Condition(
            ISOLATED,
            "False",
            "PartialCores",
            f"{_count(split, reports)} on a part of a core: CPU {_listed(first.strange)} is a "
            f"hardware thread of the core of {first.where}, and may be anybody's. "
            f"{_whole_cores(first.siblings)}",
        )
    return None


def _unseen(pool: Pool, reports: Sequence[Report]) -> Condition | None:
    """Say where nobody can tell whether others disturb."""
    threads = pool.cpu.threads_per_core
    if short := [r for r in reports if r.siblings and len(r.siblings) < threads]:
        return Condition(
            ISOLATED,
            "Unknown",
            "ThreadsNotShown",
            f"{_count(short, reports)} on a core of fewer hardware threads than "
            f"spec.cpu.threadsPerCore: {threads} ({short[0].where} shows "
            f"{len(short[0].siblings)}), so a pod runs more processes than are counted on, "
            "and which of its CPUs are one core is not known. Have the hypervisor show its "
            "hardware threads, or set spec.cpu.threadsPerCore to what is shown.",
        )
    if blind := [r for r in reports if r.virtualisation.startswith(SHARED_KERNEL)]:
        return Condition(
            ISOLATED,
            "Unknown",
            "SharedKernel",
            f"{_count(blind, reports)} on a machine that shares its kernel with strangers "
            f"({blind[0].virtualisation}, {blind[0].where}): what they take cannot be seen. Use "
            "KVM or bare metal.",
        )
    if all(r.waited is None for r in reports):
        words = "No worker tells how it is disturbed."
        return Condition(ISOLATED, "Unknown", "NoEvidence", words)
    return None


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
        "shared_cores": len(_crowds(survey, _core)),
        "external_workers": survey.external(pool),
        **{name: max(values) for name, values in known.items() if values},
    }


Place = tuple[str, int]
"""A node, and a CPU of it; or the first of the CPUs that are one physical core."""


def _cpu(report: Report) -> Place | None:
    return (report.node, min(report.cpus)) if report.core else None


def _core(report: Report) -> Place | None:
    return report.core


def _crowds(
    survey: Survey, place: Callable[[Report], Place | None]
) -> Mapping[Place, Sequence[Report]]:
    """Return the places that more than one worker has to itself, and these workers."""
    found = defaultdict(list)
    for report in (*survey.reports, *survey.beside):
        if (where := place(report)) is not None:
            found[where].append(report)
    return {where: crowd for where, crowd in found.items() if len(crowd) > 1}


def _contested(pool: Key, crowds: Mapping[Place, Sequence[Report]]) -> str:
    """Say which core has more than one worker, and whose; nothing if none has."""
    if not crowds:
        return ""
    (node, _), crowd = max(crowds.items(), key=lambda item: (len(item[1]), item[0]))
    names = ", ".join(sorted({_name(r, pool.namespace) for r in crowd}))
    cpus = frozenset[int]().union(*(r.cpus for r in crowd))
    has = f"{len(crowds)} core(s) have more than one worker:"
    if len(cpus) == 1:
        return f"{has} CPU {min(cpus)} of {node} has {len(crowd)} ({names})."
    siblings = max((r.siblings for r in crowd), key=len)
    return (
        f"{has} the CPUs {_listed(cpus)} of {node} are hardware threads of one core "
        f"and have {len(crowd)} ({names}). {_whole_cores(siblings)}"
    )


def _listed(cpus: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))


def _whole_cores(siblings: frozenset[int]) -> str:
    """Say how pods get cores with all their hardware threads."""
    threads = len(siblings)
    return (
        "Have the kubelet give out whole cores (full-pcpus-only: docs/placement.md) and set "
        f"spec.cpu.threadsPerCore: {threads}, with spec.cpu.cores {threads} or a multiple."
    )


def _name(report: Report, namespace: str) -> str:
    if not report.pod:
        return f"worker {report.worker}"
    other = report.pool.namespace not in ("", namespace)
    return f"{report.pool.namespace}/{report.pod}" if other else report.pod


def _count(some: Sequence[object], reports: Sequence[Report]) -> str:
    if len(reports) == 1:
        return "The one worker that tells of its core is"
    return f"{len(some)} of {len(reports)} workers that tell of their cores are"
