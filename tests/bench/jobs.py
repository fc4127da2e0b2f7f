"""No-op jobs per second of one core: this worker beside a bare BLPOP loop, RQ and Celery.

    make bench-jobs

Redis has one core, the contender (with its children) the other.  Every contender empties a list
filled beforehand; the clock runs from its first job to its last, so no start is counted.  Two
figures each: jobs per second of the wall's clock, and jobs per second of CPU time.  The latter is
what "per core" means: a full second of one core, used by the contender's processes alone,
supervisor and child; while a single worker waits for Redis its core is free for another.  What
Redis itself used on its core is told as microseconds per job.  Contenders take turns
round by round, and ratios are medians of the rounds' ratios.  The last line is JSON.

A contender whose package is not installed is left out.
"""

import argparse
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from support import planned_supervisor
from support.redis_server import RedisServer

JOB = json.dumps({"filename": "a.jpg", "plan": "noop"})
EMPTY_WITHIN_SECONDS = 120.0
LOOK_EVERY_SECONDS = 0.005
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
IDLE_JOBS_PER_SECOND = 50
IDLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that empties a list."""

    name: str
    list: str
    jobs: int
    fill: Callable[[redis.Redis, int], None]
    command: Callable[[RedisServer], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender in one round."""

    wall: float
    """Jobs per second."""
    cpu: float
    """Jobs per second of CPU time, its own and its children's."""
    redis: float
    """Microseconds of Redis's CPU time per job."""


def noop() -> None:
    """The job of those who take functions."""


def fill_plain(client: redis.Redis, jobs: int) -> None:
    client.rpush("queue:images", *[JOB] * jobs)


def fill_rq(client: redis.Redis, jobs: int) -> None:
    from rq import Queue  # noqa: PLC0415 (only where it is installed)

    queue = Queue(connection=client)
    queue.enqueue_many([Queue.prepare_data(noop) for _ in range(jobs)])


def fill_celery(client: redis.Redis, jobs: int) -> None:
    app = celery_app(str(client.connection_pool.connection_kwargs["port"]))
    with app.producer_or_acquire() as producer:
        for _ in range(jobs):
            app.send_task("noop", producer=producer, ignore_result=True)


def celery_app(port: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    from celery import Celery  # noqa: PLC0415 (only where it is installed)

    app = Celery("bench", broker=f"redis://127.0.0.1:{port}/0")
    app.conf.update(worker_prefetch_multiplier=1, task_ignore_result=True)
    app.task(name="noop")(noop)
    return app


def loop(name: str, port: str) -> None:
    """Be the contender, until killed."""
    match name:
        case "blpop":
            client = redis.Redis(port=int(port))
            while True:
                served = client.blpop(["queue:images"])
                assert served is not None, "it waits for ever"
                json.loads(served[1])
        case "rq":
            from rq import Queue, SimpleWorker  # noqa: PLC0415

            client = redis.Redis(port=int(port))
            SimpleWorker([Queue(connection=client)], connection=client).work(logging_level="ERROR")
        case "celery":
            quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
            celery_app(port).worker_main(["worker", "--pool", "solo", *quiet])
        case _:
            raise SystemExit(f"no contender {name}")


def itself(name: str) -> Callable[[RedisServer], tuple[str, ...]]:
    return lambda server: (sys.executable, __file__, "--loop", name, str(server.port))


def contenders(scale: float) -> Iterator[Contender]:
    def jobs(number: int) -> int:
        return max(200, round(number * scale))

    plain = ("queue:images", jobs(20_000), fill_plain)
    yield Contender("blpop", *plain, itself("blpop"))
    yield Contender("worker", *plain, lambda _: planned_supervisor.COMMAND)
    if importlib.util.find_spec("rq"):
        yield Contender("rq", "rq:queue:default", jobs(600), fill_rq, itself("rq"))
    if importlib.util.find_spec("celery"):
        yield Contender("celery", "celery", jobs(2_000), fill_celery, itself("celery"))


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: list[int] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(one for child in children for one in family(child))]


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


@contextmanager
def running(contender: Contender, server: RedisServer, core: int) -> Iterator[int]:
    """Start a contender on its core; yields its process id."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("in", "out"):
            (Path(folder) / name).mkdir()
        process = subprocess.Popen(
            ("taskset", "--cpu-list", str(core), *contender.command(server)),
            env={
                **os.environ,
                "WORKERPOOL_QUEUE": "queue:images",
                "WORKERPOOL_REDIS_URL": server.url,
                "WORKERPOOL_INPUT_DIR": f"{folder}/in",
                "WORKERPOOL_OUTPUT_DIR": f"{folder}/out",
                "WORKERPOOL_HTTP_PORT": "0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


def measure(contender: Contender, server: RedisServer, core: int) -> Figures:
    """Fill the list, let the contender empty it, and look on."""
    client = server.client()
    client.flushall()
    contender.fill(client, contender.jobs)

    def left_below(most: int) -> tuple[float, int, float, float]:
        deadline = time.monotonic() + EMPTY_WITHIN_SECONDS
        while (left := client.llen(contender.list)) >= most:
            if time.monotonic() > deadline:
                raise SystemExit(f"{contender.name} left {left} of {contender.jobs} jobs")
            time.sleep(LOOK_EVERY_SECONDS)
        return time.perf_counter(), left, cpu_seconds(pid), cpu_seconds(server.pid)

    with running(contender, server, core) as pid:
        began, first, cpu_before, redis_before = left_below(contender.jobs)
        ended, last, cpu_after, redis_after = left_below(1)
    done = first - last
    return Figures(
        wall=done / (ended - began),
        cpu=done / max(cpu_after - cpu_before, 0.01),
        redis=(redis_after - redis_before) / done * 1e6,
    )


def overhead(server: RedisServer, core: int) -> float:
    """Return the share of a core that supervisor and heartbeats take at 50 jobs a second."""
    client = server.client()
    client.flushall()
    (worker,) = (one for one in contenders(1) if one.name == "worker")
    with running(worker, server, core) as pid:
        client.rpush(worker.list, JOB)
        while client.llen(worker.list) or len(family(pid)) < 2:
            time.sleep(LOOK_EVERY_SECONDS)
        began, before = time.perf_counter(), supervisor_seconds(pid)
        for number in range(round(IDLE_JOBS_PER_SECOND * IDLE_SECONDS)):
            time.sleep(max(0.0, began + number / IDLE_JOBS_PER_SECOND - time.perf_counter()))
            client.rpush(worker.list, JOB)
        return (supervisor_seconds(pid) - before) / (time.perf_counter() - began)


def supervisor_seconds(pid: int) -> float:
    """Return the CPU seconds of the supervisor alone."""
    return cpu_seconds(pid) - sum(map(cpu_seconds, family(pid)[1:]))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--loop", nargs=2, metavar=("NAME", "PORT"), help=argparse.SUPPRESS)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--scale", type=float, default=1.0, help="of the numbers of jobs")
    words.add_argument("--only", action="append", help="these contenders alone")
    chosen = words.parse_args()
    if chosen.loop:
        loop(*chosen.loop)
        return
    cores = sorted(os.sched_getaffinity(0))
    runs: dict[str, list[Figures]] = {}
    with RedisServer() as server:
        os.sched_setaffinity(server.pid, {cores[0]})
        for _ in range(chosen.rounds):
            for contender in contenders(chosen.scale):
                if chosen.only and contender.name not in chosen.only:
                    continue
                figures = measure(contender, server, cores[-1])
                runs.setdefault(contender.name, []).append(figures)
                print(
                    f"{contender.name:8} {figures.wall:8.0f} jobs/s"
                    f" {figures.cpu:8.0f} jobs/s of its CPU time"
                    f" {figures.redis:6.0f} us of Redis's per job",
                    flush=True,
                )
        share = overhead(server, cores[-1])
    print(json.dumps(report(runs, share)))


def report(runs: dict[str, list[Figures]], share: float) -> dict[str, float]:
    """Return medians, and the worker's ratio to each rival."""
    words: dict[str, float] = {}
    for name, rounds in runs.items():
        words[f"{name}_per_second"] = round(statistics.median(one.wall for one in rounds))
        words[f"{name}_per_cpu_second"] = round(statistics.median(one.cpu for one in rounds))
        words[f"{name}_redis_us"] = round(statistics.median(one.redis for one in rounds))
    for name, rounds in runs.items():
        if name != "worker" and "worker" in runs:
            pairs = list(zip(runs["worker"], rounds, strict=True))
            words[f"vs_{name}"] = round(
                statistics.median(ours.wall / theirs.wall for ours, theirs in pairs), 2
            )
            words[f"vs_{name}_cpu"] = round(
                statistics.median(ours.cpu / theirs.cpu for ours, theirs in pairs), 2
            )
    words["supervisor_share_at_50_per_second"] = round(share, 4)
    return words


if __name__ == "__main__":
    main()
