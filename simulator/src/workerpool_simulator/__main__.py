"""`workerpool simulate`: compare policies on traffic, or ask which one to choose.

Also a program of its own, `workerpool-simulate`.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from workerpool_operator.errors import InvalidResource
from workerpool_operator.model import Policy
from workerpool_simulator import manifest
from workerpool_simulator.advice import JobsLeft, advise
from workerpool_simulator.policies import EPOCH, candidates
from workerpool_simulator.replay import Outcome, replay
from workerpool_simulator.trace import GENERATORS, BadTrace, Trace, read

EXAMPLES = """examples:
  {program}                                  all generated traces, as a table
  {program} bursts --picture .               one of them, and bursts.png
  {program} jobs.csv --pool workerpool.yaml  your traffic, your pool
  {program} jobs.csv --advise 20             the cheapest target with a p95 wait of 20 s

A trace is a CSV file: for each job the second at which it arrived, and the seconds it took.
"""


def main(arguments: Sequence[str], program: str = "workerpool-simulate") -> int:
    """Run under the name of `program`; return the exit status."""
    options = _parser(program).parse_args(arguments)
    if options.picture and find_spec("matplotlib") is None:
        needed = "--picture needs matplotlib: pip install 'workerpool-simulator[picture]'"
        sys.stderr.write(f"{program}: {needed}\n")
        return 2
    try:
        traces = [_trace(name, options.seed) for name in options.traces or GENERATORS]
        _refuse_a_name_twice(traces)
        pool = manifest.read(options.pool) if options.pool else None
        if options.picture:
            options.picture.mkdir(parents=True, exist_ok=True)
    except (BadTrace, InvalidResource, OSError) as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    policy = pool.policy if pool else _default_policy()
    if pool and pool.dry_run:
        words = "dryRun: true is not looked at: this is what the pool would do without it"
        sys.stderr.write(f"{program}: {words}\n")
    if options.advise is not None:
        return _advise(traces, policy, options)
    results = {trace.name: _compare(trace, policy, options) for trace in traces}
    if options.output == "json":
        sys.stdout.write(json.dumps({n: rows(o) for n, o in results.items()}) + "\n")
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Replay traffic through the operator's own decision and models of KEDA and "
        "Knative: who waits for how long, and what it costs.",
        epilog=EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(GENERATORS)
    parser.add_argument("traces", nargs="*", help=f"CSV files, or generated traces: {names}")
    parser.add_argument("--pool", type=Path, help="a WorkerPool manifest whose policy is used")
    parser.add_argument("--advise", type=_positive, metavar="SECONDS", help="a p95 wait to keep")
    parser.add_argument("--picture", type=Path, metavar="FOLDER", help="draw a PNG per trace")
    parser.add_argument(
        "--start", type=_positive, default=2.0, help="a pod's start, in seconds (2)"
    )
    parser.add_argument(
        "--begins",
        type=_moment,
        default=EPOCH,
        metavar="TIME",
        help="when the trace begins, for schedules: 2026-03-02T08:00+01:00 (default: a Saturday)",
    )
    parser.add_argument(
        "--target", type=_positive, default=10.0, help="the rivals' jobs per pod (10)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of generated traces (1)")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    return parser


def _positive(text: str) -> float:
    """Read a number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _moment(text: str) -> datetime:
    """Read an instant; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time such as 2026-03-02T08:00+01:00"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _default_policy() -> Policy:
    return Policy(max_replicas=40, drain=timedelta(seconds=20))


def _trace(name: str, seed: int) -> Trace:
    if name in GENERATORS:
        return GENERATORS[name](seed)
    path = Path(name)
    if not path.exists():
        raise BadTrace(f"{name} is neither a file nor one of {', '.join(GENERATORS)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return read(path.stem, lines)
    except UnicodeDecodeError as error:
        raise BadTrace(
            f"{name} is no text: write one line arrival,seconds for each job"
        ) from error


def _refuse_a_name_twice(traces: Sequence[Trace]) -> None:
    names = [trace.name for trace in traces]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadTrace(
            f"two traces are called {twice}, and so would be their figures and pictures: rename "
            f"one of the files"
        )


def _compare(trace: Trace, policy: Policy, options: argparse.Namespace) -> list[Outcome]:
    outcomes = [
        replay(
            trace,
            make(),
            start_seconds=options.start,
            workers_per_pod=policy.workers_per_replica,
        )
        for make in candidates(policy, options.target, options.begins)
    ]
    if options.output == "table":
        sys.stdout.write(table(trace, outcomes))
    if options.picture:
        from workerpool_simulator.picture import draw  # noqa: PLC0415  an optional dependency

        draw(trace, outcomes, options.picture / f"{trace.name}.png")
    return outcomes


def table(trace: Trace, outcomes: Sequence[Outcome]) -> str:
    """Return the lines a person reads."""
    work = sum(job.seconds for job in trace.jobs) / 3600
    head = f"{'policy':<12}{'p50 wait':>11}{'p95 wait':>11}{'max wait':>11}"
    head += f"{'worker-h':>10}{'killed':>8}{'changes':>9}"
    undone = any(o.undone for o in outcomes)
    head += "  done" if undone else ""
    lines = [
        f"{o.policy:<12} {o.p50_wait:>8.2f} s {o.p95_wait:>8.2f} s {o.max_wait:>8.1f} s"
        f"{o.worker_hours:>10.2f}{o.killed_jobs:>8}{o.scalings:>9}"
        + (f"  {o.done}/{o.jobs}" if undone else "")
        for o in outcomes
    ]
    title = f"{trace.name}: {len(trace.jobs)} jobs, {work:.2f} hours of work"
    return "\n".join([title, head, *lines, "", ""])


def rows(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Return what a program reads: policy → figure → value, waits in seconds."""
    return {
        o.policy: {
            "p50_wait": round(o.p50_wait, 3),
            "p95_wait": round(o.p95_wait, 3),
            "max_wait": round(o.max_wait, 3),
            "worker_hours": round(o.worker_hours, 3),
            "killed_jobs": o.killed_jobs,
            "scalings": o.scalings,
            "jobs": o.jobs,
            "done_jobs": o.done,
        }
        for o in outcomes
    }


def _advise(traces: Sequence[Trace], policy: Policy, options: argparse.Namespace) -> int:
    status = 0
    for trace in traces:
        try:
            advice = advise(trace, policy, options.advise, options.start, options.begins)
        except JobsLeft as error:
            sys.stdout.write(f"# {trace.name}: nothing to advise: {error}\n")
            status = 1
            continue
        if advice is None:
            sys.stdout.write(
                f"# {trace.name}: no setting keeps a p95 wait of {options.advise:g} s with "
                f"maxReplicas {policy.max_replicas} and a pod start of {options.start:g} s; raise "
                f"maxReplicas or minReplicas\n"
            )
            status = 1
            continue
        outcome = advice.outcome
        target = f"drainSeconds: {advice.drain_seconds}"
        if policy.max_wait is not None:
            target += f", maxWaitSeconds: {policy.max_wait.total_seconds():g}"
        sys.stdout.write(
            f"# {trace.name}: p95 wait {outcome.p95_wait:.1f} s, {outcome.worker_hours:.2f} "
            f"worker-hours, {outcome.scalings} changes of scale\n"
            f"spec:\n  target: {{{target}}}\n"
            f"  scaleDown: {{stabilizationSeconds: {advice.window_seconds}}}\n"
        )
    return status


def run() -> None:
    """Be the console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
