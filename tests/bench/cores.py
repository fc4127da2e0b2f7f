"""What a core of one's own is worth: the real worker on real photos, pinned and not.

    make bench-cores

Five settings over the same two cores take turns, round by round: one pinned worker; two pinned
workers; four unpinned processes; one pinned worker beside a process that never rests, on the
other core and on its own.  Each is the real supervisor with its children, fed by a real Redis;
the clock runs from the push to the last acknowledgement, with the children started before.

The machine itself has a say: two cores of one socket share its clock, its caches and its memory,
and may be two halves of one.  So each round also runs bare Pillow, no queue and no worker, on one
core and on two: `bare_two_cores_speedup` is what this machine has to give, and
`two_cores_of_what_the_machine_gives` the part of it that reaches the images.

Told of each: images per second of the wall's clock and of the children's CPU time, the 99th
percentile of a job's time, and of one child per second: moves between cores, involuntary
switches, and the part of its time that it waited for a core.  Ratios are medians of the rounds'
ratios.  The last line is JSON, and says what it ran on and what others used of the machine: above
FOREIGN_MOST the figures are noise and a warning stands beside them; `--strict` ends instead.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.images import photo
from image_worker import evidence, machine
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer
from support.supervisor import COMMAND, Supervisor
from support.waiting import eventually

PHOTOS = 3
"""12 megapixels each, with the statistics of natural pictures."""
RUN_SECONDS = 240.0
SOON, SELDOM = 0.005, 0.5
FOREIGN_MOST = 0.1
"""Of the two cores, used by others than this benchmark."""
BUSY = "while True: pass"
BARE = """
import io, sys, time
from PIL import Image
photo = sys.stdin.buffer.read(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.buffer.read(1)
began = time.perf_counter()
for _ in range(int(sys.argv[2])):
    with Image.open(io.BytesIO(photo)) as picture:
        picture.draft("RGB", (1024, 1024))
        picture.thumbnail((1024, 1024))
        picture.save(io.BytesIO(), "JPEG")
print(time.perf_counter() - began, flush=True)
"""
"""A photo made small, again and again, from one word on: what a core can do."""
HUNDRED = 100
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Setting:
    """Workers on cores, and perhaps a neighbour."""

    name: str
    workers: tuple[tuple[int, ...], ...]
    """The cores each supervisor is given."""
    policy: str = "Exclusive"
    neighbour: int | None = None
    """The core that somebody else keeps busy."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One setting in one round."""

    images_per_second: float
    images_per_cpu_second: float
    p99_milliseconds: float
    switches_per_second: float
    migrations_per_second: float
    waited: float
    foreign: float


def settings(first: int, second: int) -> list[Setting]:
    both = (first, second)
    return [
        Setting("one_pinned", ((first,),)),
        Setting("two_pinned", (both,)),
        Setting("four_unpinned", (both, both, both, both), policy="Shared"),
        Setting("neighbour_other_core", ((first,),), neighbour=second),
        Setting("neighbour_same_core", ((first,),), neighbour=first),
    ]


@contextmanager
def noise(core: int | None) -> Iterator[list[int]]:
    """Keep a core busy with something that never rests; yields who does."""
    if core is None:
        yield []
        return
    with subprocess.Popen(
        ("taskset", "--cpu-list", str(core), sys.executable, "-c", BUSY)
    ) as loop:
        try:
            yield [loop.pid]
        finally:
            loop.kill()


def bare(cores: tuple[int, ...], data: bytes, jobs: int) -> float:
    """Return the photos per second of one Pillow loop on each core, all begun together."""
    size_and_times = (str(len(data)), str(jobs))
    with ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen(
                    ("taskset", "-c", str(core), sys.executable, "-c", BARE, *size_and_times),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for core in cores
        ]
        said(loops, data)
        answers = said(loops, b"!")
        return sum(jobs / float(seconds) for seconds in answers)


def said(loops: list[subprocess.Popen[bytes]], words: bytes) -> list[bytes]:
    """Return the line with which each answers the same words."""
    for loop in loops:
        assert loop.stdin
        loop.stdin.write(words)
        loop.stdin.flush()
    return [loop.stdout.readline() for loop in loops if loop.stdout]


def measure(
    setting: Setting, server: RedisServer, photos: Mapping[str, bytes], jobs: int
) -> Figures:
    """Start the workers, push, look on, and end them."""
    client = server.client()
    client.flushall()
    queue = QueueState(client)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "in").mkdir()
        for name, data in photos.items():
            (folder / "in" / name).write_bytes(data)
        supervisors = []
        for cores in setting.workers:
            on_cores = ("taskset", "--cpu-list", ",".join(map(str, cores)), *COMMAND)
            worker = Supervisor(server.url, folder, command=on_cores, cpu_policy=setting.policy)
            supervisors.append(stack.enter_context(worker))
        for worker in supervisors:
            worker.await_ready()
        wanted = 1 if setting.policy == "Shared" else len(setting.workers[0])
        children = [
            child
            for worker in supervisors
            for child in eventually(lambda w=worker: _all(w, wanted), "its children")  # type: ignore[misc]
        ]
        ours = [os.getpid(), server.pid, *children, *(worker.pid for worker in supervisors)]
        ours += stack.enter_context(noise(setting.neighbour))
        names = list(photos)
        payloads = [json.dumps({"filename": names[n % len(names)]}) for n in range(jobs)]
        before, began = look(children, ours), time.perf_counter()
        client.rpush(LIST, *payloads)
        await_done(queue, jobs)
        seconds, after = time.perf_counter() - began, look(children, ours)
        times = sorted(
            line["milliseconds"]
            for worker in supervisors
            for line in worker.log
            if "milliseconds" in line
        )
    each = seconds * len(children)
    machine_seconds = (after.machine - before.machine) / TICKS
    return Figures(
        images_per_second=jobs / seconds,
        images_per_cpu_second=jobs / max(after.children - before.children, 0.01),
        p99_milliseconds=times[min(len(times) - 1, len(times) * 99 // HUNDRED)],
        switches_per_second=(after.switches - before.switches) / each,
        migrations_per_second=(after.migrations - before.migrations) / each,
        waited=(after.waited - before.waited) / each,
        foreign=max(0.0, machine_seconds - (after.ours - before.ours)) / (2 * seconds),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Counters at an instant."""

    children: float
    """CPU seconds."""
    ours: float
    machine: int
    """Ticks in which any core was busy, or taken away."""
    switches: int
    migrations: int
    waited: float


def look(children: list[int], ours: list[int]) -> Look:
    seen = [evidence.read(child, 0.0) for child in children]
    user, nice, system, _, _, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return Look(
        children=sum(map(cpu_seconds, children)),
        ours=sum(map(cpu_seconds, ours)),
        machine=user + nice + system + irq + soft + steal,
        switches=sum(one.switches or 0 for one in seen),
        migrations=sum(one.migrations or 0 for one in seen),
        waited=sum(one.waited or 0.0 for one in seen),
    )


def cpu_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / TICKS


def await_done(queue: QueueState, jobs: int) -> None:
    """Look on, more often towards the end: each look takes time of a core that is measured."""
    began = time.monotonic()
    while (done := queue.stats.get("done", 0)) < jobs:
        passed = time.monotonic() - began
        if passed > RUN_SECONDS:
            raise SystemExit(f"{done} of {jobs} jobs after {RUN_SECONDS:g} s: {queue.stats}")
        left = passed * (jobs - done) / max(done, 1)
        time.sleep(min(max(left / 2, SOON), SELDOM))


def _all(worker: Supervisor, wanted: int) -> list[int] | None:
    children = worker.children()
    return (
        children if len(children) == wanted and len(worker.lines("is ready")) >= wanted else None
    )


def ratio(
    runs: Mapping[str, list[Figures]], over: str, under: str, of: Callable[[Figures], float]
) -> float:
    pairs = zip(runs[over], runs[under], strict=True)
    return round(statistics.median(of(a) / of(b) for a, b in pairs), 2)


def report(runs: Mapping[str, list[Figures]], gains: list[float]) -> dict[str, object]:
    """Return medians of each setting, and ratios of the same round; `gains` are the bare ones."""
    words: dict[str, object] = {
        "machine": {
            "virtualisation": str(machine.virtualisation(machine.read_texts())),
            "cores": len(os.sched_getaffinity(0)),
            "load": [round(load, 2) for load in os.getloadavg()],
        }
    }
    for name, rounds in runs.items():
        words[name] = {
            part.name: round(statistics.median(asdict(one)[part.name] for one in rounds), 3)
            for part in fields(Figures)
        }
    speed = lambda one: one.images_per_second  # noqa: E731 (a name for the four lines below)
    speedup = words["two_cores_speedup"] = ratio(runs, "two_pinned", "one_pinned", speed)
    words["bare_two_cores_speedup"] = round(statistics.median(gains), 2)
    words["two_cores_of_what_the_machine_gives"] = round(speedup / statistics.median(gains), 2)
    words["pinned_over_four_unpinned"] = ratio(runs, "two_pinned", "four_unpinned", speed)
    words["p99_four_unpinned_over_pinned"] = ratio(
        runs, "four_unpinned", "two_pinned", lambda one: one.p99_milliseconds
    )
    words["neighbour_on_the_other_core"] = ratio(runs, "neighbour_other_core", "one_pinned", speed)
    words["neighbour_on_the_same_core"] = ratio(runs, "neighbour_same_core", "one_pinned", speed)
    foreign = max(one.foreign for rounds in runs.values() for one in rounds)
    words["foreign_most"] = round(foreign, 3)
    words["quiet"] = foreign <= FOREIGN_MOST
    return words


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--jobs", type=int, default=120)
    words.add_argument("--strict", action="store_true", help="end when others use the machine")
    chosen = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # and leave nothing behind
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    runs: dict[str, list[Figures]] = {}
    gains: list[float] = []
    photos = {f"{number}.jpg": photo(number) for number in range(PHOTOS)}
    with RedisServer() as server:
        for _ in range(chosen.rounds):
            for setting in settings(*cores[:2]):
                figures = measure(setting, server, photos, chosen.jobs)
                runs.setdefault(setting.name, []).append(figures)
                print(line(setting.name, figures), flush=True)
                if chosen.strict and figures.foreign > FOREIGN_MOST:
                    raise SystemExit("others use the machine: repeat this when it is quiet")
            one, two = (bare(tuple(cores[:n]), photos["0.jpg"], chosen.jobs) for n in (1, 2))
            gains.append(two / one)
            print(f"{'bare':21} {one:6.1f} images/s, {two:6.1f} on two cores", flush=True)
    told = report(runs, gains)
    if not told["quiet"]:
        print("WARNING: others used the machine meanwhile; these figures are noise", flush=True)
    print(json.dumps(told))


def line(name: str, one: Figures) -> str:
    return (
        f"{name:21} {one.images_per_second:6.1f} images/s"
        f" {one.images_per_cpu_second:6.1f} per CPU s  p99 {one.p99_milliseconds:5.0f} ms"
        f" {one.switches_per_second:7.1f} switches/s {one.migrations_per_second:6.1f} moves/s"
        f" waited {one.waited:4.0%}  others {one.foreign:4.0%}"
    )


if __name__ == "__main__":
    main()
