"""Waiting time against worker-hours, on every generated trace, against models of the rivals.

A simulation: no cluster, no clock; the operator's decision is the real one. Pods start in 2 s for
everybody. Prints a table, and one JSON line last: our share of tuned KEDA's worker-hours and p95
waits, as geometric means over the traces, and one entry per trace.
"""

import argparse
import json
import math
import platform
from datetime import timedelta

from workerpool_operator.model import Policy
from workerpool_simulator.__main__ import rows, table
from workerpool_simulator.policies import candidates
from workerpool_simulator.replay import Outcome, replay
from workerpool_simulator.trace import GENERATORS

POLICY = Policy(max_replicas=40, drain=timedelta(seconds=20))
TARGET = 10
SHORTEST_WAIT_SECONDS = 0.1
"""Shorter waits are nobody's concern, and would make ratios meaningless."""


def ratios(outcomes: dict[str, Outcome]) -> tuple[float, float]:
    """Return our worker-hours and p95 wait as shares of tuned KEDA's."""
    ours, theirs = outcomes["workerpool"], outcomes["keda-tuned"]
    ours_wait, their_wait = (max(SHORTEST_WAIT_SECONDS, o.p95_wait) for o in (ours, theirs))
    return ours.worker_hours / theirs.worker_hours, ours_wait / their_wait


def geometric_mean(values: list[float]) -> float:
    """Return the mean that is fair to ratios."""
    return round(math.exp(sum(map(math.log, values)) / len(values)), 3)


def main() -> None:
    """Replay everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the generated traffic")
    seed = parser.parse_args().seed
    result: dict[str, object] = {"benchmark": "decisions", "seed": seed}
    hours, waits, worse = [], [], []
    traces = {}
    for name, generate in GENERATORS.items():
        trace = generate(seed)
        outcomes = [replay(trace, make()) for make in candidates(POLICY, TARGET)]
        print(table(trace, outcomes), end="")
        by_name = {outcome.policy: outcome for outcome in outcomes}
        share_hours, share_wait = ratios(by_name)
        hours.append(share_hours)
        waits.append(share_wait)
        if share_hours > 1 and share_wait > 1:
            worse.append(name)
        traces[name] = {
            "worker_hours_vs_keda_tuned": round(share_hours, 3),
            "p95_wait_vs_keda_tuned": round(share_wait, 3),
            **rows(outcomes),
        }
    result["worker_hours_vs_keda_tuned"] = geometric_mean(hours)
    result["p95_wait_vs_keda_tuned"] = geometric_mean(waits)
    result["worse_on_both"] = worse
    result["traces"] = traces
    result["ran_on"] = f"simulation, Python {platform.python_version()}"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
