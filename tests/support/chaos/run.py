"""One storm from the first push to the verdict."""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from support.chaos.audit import audit
from support.chaos.clocks import now_ms
from support.chaos.faults import digest, schedule
from support.chaos.jobs import QUEUES, Job, planned
from support.chaos.places import PLACES
from support.chaos.storm import Storm
from support.queue_state import QueueState

STILL_SECONDS = 90.0
"""After the storm something must be settled at least this often."""
LOOK_EVERY_SECONDS = 0.1
PUSH_SECONDS = 60.0
# A producer that cannot tell whether its push arrived repeats it, and would push a job twice:
# rightly done twice, and in the way of counting.  This one leaves a mark with each batch.
PUSHED = "pushed"
PUSH = """
if redis.call('SADD', KEYS[1], ARGV[1]) == 1 then
  for i = 2, #ARGV do redis.call('RPUSH', KEYS[i], ARGV[i]) end
end
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a storm."""

    figures: dict[str, object]
    problems: list[str]


def run(folder: Path, *, seed: int, jobs: int, faults: int) -> Outcome:
    """Push the jobs while the faults befall, wait until all is calm, and look."""
    plan = planned(jobs, folder)
    faulted = schedule(seed, faults=faults, places=PLACES)
    with Storm(folder, results_kept=jobs) as storm:
        client = storm.server.client()
        queues = {queue: QueueState(client, queue, f"{{{queue}}}:") for queue in QUEUES}
        started = time.monotonic()
        for number, fault in enumerate(faulted):
            batch = slice(jobs * number // faults, jobs * (number + 1) // faults)
            _push(client, number, plan.jobs[batch])
            storm.befall(fault)
        storm.calm()
        storm_seconds = time.monotonic() - started
        done_in_storm = sum(queue.stats.get("done", 0) for queue in queues.values())
        problems = _await_calm(queues.values())
        calm_seconds = time.monotonic() - started - storm_seconds
        verdict = audit(storm, queues, plan)
    return Outcome(
        figures={
            "chaos": "worker",
            "seed": seed,
            "schedule": digest(faulted),
            "jobs": jobs,
            "faults": sum(storm.faults.values()),
            **{str(kind): number for kind, number in sorted(storm.faults.items())},
            "storm_seconds": round(storm_seconds, 1),
            "calm_seconds": round(calm_seconds, 1),
            "done_in_storm": done_in_storm,
            **verdict.figures,
        },
        problems=problems + verdict.problems,
    )


def _push(client: redis.Redis, batch: int, jobs: Sequence[Job]) -> None:
    """Push until Redis says that it has them."""
    deadline = time.monotonic() + PUSH_SECONDS
    now = now_ms()
    payloads = [job.payload(now) for job in jobs]
    keys = [PUSHED, *(job.queue for job in jobs)]
    while True:
        try:
            client.eval(PUSH, len(keys), *keys, batch, *payloads)
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_EVERY_SECONDS)
        else:
            return


def _await_calm(queues: Collection[QueueState]) -> list[str]:
    """Wait until nothing waits, is due or runs; give up when nothing is settled any more."""
    moved, last = time.monotonic(), None
    while True:
        # A Redis that stalls, because its disk is busy, is looked at later.
        with suppress(redis.RedisError):
            # Not the lengths: a job that comes up and is put off again and again moves those.
            now = [queue.stats for queue in queues]
            if all(queue.quiet for queue in queues):
                return []
            if now != last:
                moved, last = time.monotonic(), now
        if time.monotonic() - moved > STILL_SECONDS:
            left = [queue.lengths for queue in queues]
            return [f"nothing was settled for {STILL_SECONDS:g} s: {left}, {last}"]
        time.sleep(LOOK_EVERY_SECONDS)
