"""Waiting time against worker-hours, on every generated trace, against models of the rivals.

A simulation: no cluster, no clock; the operator's decision and its choice of pods are the real
ones. Pods start in 2 s for everybody, and windows are 60 s, ours and tuned KEDA's (`--window`).
Ours is shown twice: with one drain time for all traffic, and as advised, with a drain time for
each kind of traffic: the fewest worker-hours that wait a tenth less than tuned KEDA does, chosen
on other seeds than are shown (`--choose` does it again). Prints a table per trace, one with tuned
KEDA at other targets than 10 jobs per pod, and one JSON line last: our share of tuned KEDA's
worker-hours and p95 waits, as geometric means over the traces, first as advised, then with one
drain time, and one entry per trace.
"""

import argparse
import json
import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from workerpool_operator.model import Policy
from workerpool_simulator.__main__ import rows, table
from workerpool_simulator.advice import DRAINS
from workerpool_simulator.policies import Decider, Workerpool, candidates
from workerpool_simulator.replay import Outcome, replay
from workerpool_simulator.trace import GENERATORS, Trace

DRAIN_SECONDS = 20
POLICY = Policy(max_replicas=40, drain=timedelta(seconds=DRAIN_SECONDS))
TARGET = 10
SWEEP = (5, 10, 20, 40)
"""Targets of tuned KEDA, in jobs per pod."""
CHOSEN_ON = (1, 2)
"""Seeds of the traffic that the drain times were chosen on."""
CHOSEN = {"steady": 200, "diurnal": 300, "bursts": 12, "giant": 300, "heavy-tail": 120}
"""What `--choose` printed: seconds."""
MARGIN = 0.9
"""Other traffic of the same kind waits longer at times."""
SHORTEST_WAIT_SECONDS = 0.1
"""Shorter waits are nobody's concern, and would make ratios meaningless."""
OURS, ADVISED, RIVAL = "workerpool", "advised", "keda-tuned"


@dataclass(slots=True)
class Shares:
    """Our share of tuned KEDA's worker-hours and p95 waits, trace by trace."""

    hours: dict[str, float] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)

    def add(self, trace: str, ours: Outcome, theirs: Outcome) -> None:
        """Take a trace in."""
        waits = [max(SHORTEST_WAIT_SECONDS, o.p95_wait) for o in (ours, theirs)]
        self.hours[trace] = ours.worker_hours / theirs.worker_hours
        self.waits[trace] = waits[0] / waits[1]

    def summary(self) -> dict[str, object]:
        """Return both over all traces, and the traces where both are worse."""
        return {
            "worker_hours_vs_keda_tuned": geometric_mean(self.hours.values()),
            "p95_wait_vs_keda_tuned": geometric_mean(self.waits.values()),
            "worse_on_both": [n for n in self.hours if self.hours[n] > 1 and self.waits[n] > 1],
        }


def geometric_mean(values: Iterable[float]) -> float:
    """Return the mean that is fair to ratios."""
    logs = [math.log(value) for value in values]
    return round(math.exp(sum(logs) / len(logs)), 3)


def with_drain(seconds: int, policy: Policy = POLICY) -> Workerpool:
    """Return ours, with a drain time of its own."""
    return Workerpool(replace(policy, drain=timedelta(seconds=seconds)), name=ADVISED)


def choose(generate: Callable[[int], Trace]) -> int:
    """Return the drain time with the fewest worker-hours that waits less than tuned KEDA.

    By `MARGIN`, on the traffic of each seed of `CHOSEN_ON`; where none does, that waits no longer.
    """
    traces = [generate(seed) for seed in CHOSEN_ON]
    limits = [replay(trace, rival()).p95_wait for trace in traces]
    tried = {drain: [replay(trace, with_drain(drain)) for trace in traces] for drain in DRAINS}
    for margin in (MARGIN, 1.0):
        hours = {
            drain: sum(outcome.worker_hours for outcome in outcomes)
            for drain, outcomes in tried.items()
            if all(o.p95_wait <= margin * most for o, most in zip(outcomes, limits, strict=True))
        }
        if hours:
            return min(hours, key=lambda drain: hours[drain])
    return DRAINS[0]


def rival(policy: Policy = POLICY, target: float = TARGET) -> Decider:
    """Return tuned KEDA."""
    return next(made for make in candidates(policy, target) if (made := make()).name == RIVAL)


@dataclass(slots=True)
class Sweep:
    """Tuned KEDA at each target of `SWEEP` beside ours with one drain time, trace by trace."""

    policy: Policy
    ours: dict[str, Outcome] = field(default_factory=dict)
    theirs: dict[str, dict[int, Outcome]] = field(default_factory=dict)

    def add(self, trace: Trace, ours: Outcome) -> None:
        """Take a trace in."""
        self.ours[trace.name] = ours
        self.theirs[trace.name] = {
            target: replay(trace, rival(self.policy, target)) for target in SWEEP
        }

    def as_good(self) -> list[str]:
        """Return where tuned KEDA neither waits longer than ours nor takes more hours."""
        return [
            f"{name} at {target}"
            for name, by_target in self.theirs.items()
            for target, their in by_target.items()
            if their.p95_wait <= self.ours[name].p95_wait
            and their.worker_hours <= self.ours[name].worker_hours
        ]

    def table(self) -> str:
        """Return the lines a person reads."""
        lines = ["p95 wait / worker-hours (jobs killed): ours, and tuned KEDA by jobs per pod"]
        lines.append(f"{'trace':<12}{'ours':>22}" + "".join(f"{t:>22}" for t in SWEEP))
        for name, ours in self.ours.items():
            cells = [ours, *self.theirs[name].values()]
            lines.append(f"{name:<12}" + "".join(f"{_cell(outcome):>22}" for outcome in cells))
        lines.append(f"as good as ours on both: {', '.join(self.as_good()) or 'none'}")
        return "\n".join(lines)

    def rows(self) -> dict[str, dict[int, dict[str, float]]]:
        """Return what a program reads: trace → target → figure → value."""
        return {
            name: {target: rows([their])[RIVAL] for target, their in by_target.items()}
            for name, by_target in self.theirs.items()
        }


def _cell(outcome: Outcome) -> str:
    return f"{outcome.p95_wait:.2f} s / {outcome.worker_hours:.2f} ({outcome.killed_jobs})"


def main() -> None:
    """Replay everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11, help="of the generated traffic (11)")
    parser.add_argument("--window", type=int, default=60, help="seconds, ours and KEDA's (60)")
    parser.add_argument("--choose", action="store_true", help="print drain times to advise")
    options = parser.parse_args()
    if options.choose:
        print(json.dumps({name: choose(generate) for name, generate in GENERATORS.items()}))
        return
    seed = options.seed
    if seed in CHOSEN_ON:
        print(
            f"The drain times that are advised were chosen on this traffic: seeds {CHOSEN_ON}.\n"
        )
    policy = replace(POLICY, stabilization=timedelta(seconds=options.window))
    advised, plain, sweep = Shares(), Shares(), Sweep(policy)
    traces = {}
    for name, generate in GENERATORS.items():
        trace, drain = generate(seed), CHOSEN[name]
        outcomes = [replay(trace, make()) for make in candidates(policy, TARGET)]
        outcomes.insert(1, replay(trace, with_drain(drain, policy)))
        by_name = {outcome.policy: outcome for outcome in outcomes}
        plain.add(name, by_name[OURS], by_name[RIVAL])
        advised.add(name, by_name[ADVISED], by_name[RIVAL])
        sweep.add(trace, by_name[OURS])
        print(table(trace, outcomes).rstrip())
        print(f"advised: drainSeconds {drain}\n")
        traces[name] = {
            "drain_seconds": drain,
            "worker_hours_vs_keda_tuned": round(advised.hours[name], 3),
            "p95_wait_vs_keda_tuned": round(advised.waits[name], 3),
            **rows(outcomes),
        }
    print(f"{sweep.table()}\n")
    result = {
        "benchmark": "decisions",
        "seed": seed,
        "window_seconds": options.window,
        **advised.summary(),
        "with_one_drain_time": {"drain_seconds": DRAIN_SECONDS, **plain.summary()},
        "traces": traces,
        "keda_tuned_by_target": {"as_good_on_both": sweep.as_good(), **sweep.rows()},
        "ran_on": f"simulation, Python {platform.python_version()}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
