"""Push hostile payloads to a real supervisor, and see whether its loop lives and stays small.

    make fuzz-payloads

A run is repeated by its seed.  Ends with 1 if the supervisor or its child died, met an exception
nobody foresaw, grew, or left a payload neither done nor buried.  Prints one JSON line last.
"""

import argparse
import json
import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually

BATCH = 500
WARM_BATCHES = 4
MAX_GROWTH_MEGABYTES = 32
ODD_NAMES: tuple[object, ...] = (
    "a.jpg", "../a.jpg", "/etc/passwd", "", ".", "..", "a\0b", "a/" * 3000, "x" * 400, "\udcff",
    "a\nb", "missing.jpg", "in", "💥.jpg", "%s%n", "-rf", None, 7, 1e400, [], {}, True,
)  # fmt: skip
ODD_FIELDS = (
    "preset", "presets", "report", "id", "notBefore", "output", "plan", "filename", "\0", "x" * 99,
)  # fmt: skip


def payload(chance: Random) -> bytes:
    """Make one: sometimes JSON, sometimes a job, mostly neither."""
    body = {"filename": chance.choice(ODD_NAMES)}
    for _ in range(chance.randrange(3)):
        body[chance.choice(ODD_FIELDS)] = chance.choice(ODD_NAMES)
    whole = json.dumps(body if chance.random() < 0.9 else chance.choice(ODD_NAMES)).encode()
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.randrange(300))
        case 1:
            return whole[: chance.randrange(len(whole) + 1)]
        case 2:
            cut = chance.randrange(len(whole))
            return whole[:cut] + chance.randbytes(3) + whole[cut:]
        case 3:
            return b"[" * chance.randrange(1, 200_000)
        case 4 if chance.random() < 0.1:
            return b" " * (1 << 20) + whole  # one byte too long, and then some
        case _:
            return whole


def resident_megabytes(pids: list[int]) -> float:
    """Return what processes hold in memory together."""
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total / 1024


def main() -> int:
    """Fuzz, report, judge."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--payloads", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = arguments.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    chance, warm = Random(options.seed), 0.0
    with tempfile.TemporaryDirectory() as name, RedisServer() as server:
        folder, queue = Path(name), QueueState(server.client())
        (folder / "in").mkdir()
        (folder / "in" / "a.jpg").write_bytes(jpeg((64, 48)))
        with Supervisor(server.url, folder, job_max_attempts="1") as supervisor:
            supervisor.await_ready()
            children = supervisor.children()
            for batch in range(-(-options.payloads // BATCH)):
                queue.push(
                    *(payload(chance) for _ in range(min(BATCH, options.payloads - batch * BATCH)))
                )
                eventually(
                    lambda: queue.quiet, lambda: f"calm: {queue.lengths}", seconds=300, every=0.1
                )
                if batch <= WARM_BATCHES:
                    warm = resident_megabytes([supervisor.pid, *children])
            end = resident_megabytes([supervisor.pid, *children])
            deaths = supervisor.metric("image_worker_child_deaths_total")
            bugs = supervisor.metric("image_worker_bugs_total")
            same = supervisor.children() == children and supervisor.process.poll() is None
            ended = supervisor.terminate(seconds=60)
        lines = [queue.envelope(lease)[0] for lease in queue.members("dead")]
        reasons = Counter(line.split(" ")[4] for line in lines)
        done, duplicate = (queue.stats.get(name, 0) for name in ("done", "duplicate"))
        lost = options.payloads - done - duplicate - len(lines)
        nowhere = queue.jobs - len(lines)
    good = (
        (same, ended, deaths, bugs, lost, nowhere) == (True, 0, 0, 0, 0, 0)
        and reasons["Unexpected"] == 0
        and end - warm <= MAX_GROWTH_MEGABYTES
    )
    result = {
        "fuzz": "payloads",
        "seed": options.seed,
        "payloads": options.payloads,
        "done": done,
        "duplicate": duplicate,
        "lost": lost,
        "buried": dict(reasons.most_common()),
        "child_deaths": deaths,
        "bugs": bugs,
        "exit_code": ended,
        "jobs_without_a_place": nowhere,
        "rss_megabytes_warm": round(warm, 1),
        "rss_megabytes_end": round(end, 1),
        "good": good,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
