"""How a queue and its pool look: lines for a person, a document for a program.

Pure.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workerpool_cli.console import BOLD, DIM, RED, Console, cut, table
from workerpool_cli.model import Snapshot, Worker
from workerpool_cli.pool import Pool
from workerpool_cli.words import age, count, printable

SHOWN_WORKERS = 40
JOB_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two snapshots, each second."""

    seconds: float
    done: float
    failed: float
    crashed: float


@dataclass(frozen=True, slots=True)
class Status:
    """All that one look saw."""

    list: str
    where: str
    snapshot: Snapshot
    workers: Sequence[Worker]
    rates: Rates | None
    pool: Pool | None


def rates_between(before: Snapshot, after: Snapshot) -> Rates | None:
    """Return the rates, or None where the clock or the counters did not go forward."""
    seconds = (after.now_ms - before.now_ms) / 1000
    done = after.stats.done - before.stats.done
    failed = after.stats.failed - before.stats.failed
    crashed = after.stats.crashed - before.stats.crashed
    if seconds <= 0 or min(done, failed, crashed) < 0:
        return None
    return Rates(seconds, done / seconds, failed / seconds, crashed / seconds)


def lines(status: Status, console: Console) -> list[str]:
    """Draw a status for a person."""
    shown = [f"{console.paint(status.list, BOLD)}  {console.paint(status.where, DIM)}"]
    shown += _counts(status, console)
    if status.pool is not None:
        shown += ["", *_pool(status.pool, console)]
    shown += ["", *_workers(status.workers, status.snapshot.now_ms, console)]
    return [cut(line, console.width) for line in shown]


def summary(status: Status) -> str:
    """Say it all in one line, for logs."""
    snapshot, rates = status.snapshot, status.rates
    words = [
        f"waiting {snapshot.waiting}",
        f"due {snapshot.due}",
        f"scheduled {snapshot.scheduled}",
        f"in flight {len(snapshot.in_flight)}",
        f"dead {snapshot.dead}",
        f"workers {snapshot.live_workers}",
        f"done {snapshot.stats.done}",
    ]
    if rates is not None:
        words.append(f"({rates.done:.1f}/s)")
    if status.pool is not None:
        words.append(f"replicas {_known(status.pool.replicas)} {status.pool.reason}")
    return "  ".join(words)


def document(status: Status) -> dict[str, Any]:
    """Return what `--output json` prints; a number that is unknown is null."""
    snapshot, stats = status.snapshot, status.snapshot.stats
    return {
        "queue": {
            "list": status.list,
            "redis": status.where,
            "waiting": snapshot.waiting,
            "due": snapshot.due,
            "scheduled": snapshot.scheduled,
            "inFlight": len(snapshot.in_flight),
            "dead": snapshot.dead,
            "done": stats.done,
            "failedAttempts": stats.failed,
            "crashedAttempts": stats.crashed,
            "buried": stats.dead,
            "meanJobSeconds": stats.mean_job_seconds,
            "rates": None if status.rates is None else _rates(status.rates),
        },
        "workers": [_worker(worker, snapshot.now_ms) for worker in status.workers],
        "pool": None if status.pool is None else _pool_document(status.pool),
    }


def _counts(status: Status, console: Console) -> list[str]:
    snapshot, stats, rates = status.snapshot, status.snapshot.stats, status.rates
    late = len(snapshot.in_flight) - snapshot.live_leases
    next_retry = snapshot.next_retry_ms
    rows = [
        ("waiting", snapshot.waiting, ""),
        ("due", snapshot.due, "their time has come" if snapshot.due else ""),
        (
            "scheduled",
            snapshot.scheduled,
            f"failed before, or for later; the next one due in {age(next_retry - snapshot.now_ms)}"
            if snapshot.scheduled and not snapshot.due and next_retry is not None
            else "",
        ),
        (
            "in flight",
            len(snapshot.in_flight),
            f"{late} of them with workers that fell silent" if late else "",
        ),
        ("dead", snapshot.dead, "see `workerpool dead list`" if snapshot.dead else ""),
        ("done", stats.done, _done_note(status)),
        ("failed", stats.failed, "attempts" + (f", {rates.failed:.1f}/s" if rates else "")),
        ("crashed", stats.crashed, "attempts that took their worker with them"),
    ]
    numbers = max(len(f"{number:,}") for _, number, _ in rows)
    drawn = []
    for name, number, words in rows:
        line = f"  {name:<10} {number:>{numbers},}  {words}".rstrip()
        is_bad = number and name in {"dead", "crashed"}
        drawn.append(console.paint(line, RED) if is_bad else line)
    return drawn


def _done_note(status: Status) -> str:
    mean, rates = status.snapshot.stats.mean_job_seconds, status.rates
    words = [f"{rates.done:.1f}/s"] if rates else []
    words += [f"{mean:.2f} s each on average"] if mean is not None else []
    return ", ".join(words)


def _pool(pool: Pool, console: Console) -> list[str]:
    paused = console.paint("  PAUSED", RED) if pool.paused else ""
    heading = console.paint(f"pool {pool.namespace}/{pool.name}", BOLD)
    shown = [
        heading + paused,
        (
            f"  replicas {_known(pool.replicas)}, desired {_known(pool.desired)}, ready "
            f"{_known(pool.ready)}, between {pool.min_replicas} and {pool.max_replicas}"
        ),
        f"  {pool.reason or 'no decision yet'}{': ' if pool.message else ''}{pool.message}",
    ]
    if pool.observed_generation < pool.generation:
        shown.append("  the operator has not seen the last change of the pool yet")
    rows = [(c.type, c.status, c.reason, c.message) for c in pool.conditions]
    return shown + (table(rows, "  ") if rows else [])


def _workers(workers: Sequence[Worker], now_ms: int, console: Console) -> list[str]:
    if not workers:
        return ["no worker is known to Redis"]
    busy = sum(worker.job is not None for worker in workers)
    order = sorted(workers, key=lambda worker: (worker.job is None, worker.pod, worker.cpu))
    rows = [("POD", "NODE", "CPU", "AGE", "STATE", "JOB")]
    for worker in order[:SHOWN_WORKERS]:
        state = "silent" if worker.silent else "busy" if worker.job else "idle"
        since = "?" if worker.started_ms is None else age(now_ms - worker.started_ms)
        job = printable(worker.job.raw, JOB_CHARACTERS) if worker.job else ""
        pod = worker.pod or worker.id
        rows.append((pod, worker.node or "?", worker.cpu or "any", since, state, job))
    more = len(workers) - SHOWN_WORKERS
    heading = f"{count(len(workers), 'worker')}, {busy} busy"
    rest = [f"  … and {more:,} more (--output json has them all)"] if more > 0 else []
    return [console.paint(heading, BOLD), *table(rows, "  "), *rest]


def _rates(rates: Rates) -> dict[str, float]:
    return {
        f"{name}PerSecond" if name != "seconds" else name: v for name, v in asdict(rates).items()
    }


def _worker(worker: Worker, now_ms: int) -> dict[str, Any]:
    return {
        "id": worker.id,
        "silent": worker.silent,
        "namespace": worker.namespace or None,
        "pool": worker.pool or None,
        "pod": worker.pod or None,
        "node": worker.node or None,
        "cpu": int(worker.cpu) if worker.cpu.isdecimal() else None,
        "ageSeconds": None if worker.started_ms is None else (now_ms - worker.started_ms) / 1000,
        "job": None if worker.job is None else worker.job.raw.decode(errors="replace"),
        "jobId": None if worker.job is None else worker.job.job_id,
    }


def _pool_document(pool: Pool) -> dict[str, Any]:
    return {
        "namespace": pool.namespace,
        "name": pool.name,
        "paused": pool.paused,
        "minReplicas": pool.min_replicas,
        "maxReplicas": pool.max_replicas,
        "replicas": pool.replicas,
        "desiredReplicas": pool.desired,
        "readyReplicas": pool.ready,
        "reason": pool.reason or None,
        "message": pool.message or None,
        "statusIsCurrent": pool.observed_generation >= pool.generation,
        "conditions": [asdict(condition) for condition in pool.conditions],
    }


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)
