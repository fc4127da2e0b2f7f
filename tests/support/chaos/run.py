"""One storm from the first push to the verdict."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from support.chaos.audit import audit
from support.chaos.faults import digest, schedule
from support.chaos.jobs import planned
from support.chaos.storm import PLACES, Storm
from support.queue_state import LIST, PREFIX, QueueState

STILL_SECONDS = 90.0
"""After the storm something must get done at least this often."""
LOOK_EVERY_SECONDS = 0.1
PUSH_SECONDS = 60.0
# A producer that cannot tell whether its push arrived repeats it, and would push a job twice:
# rightly done twice, and in the way of counting.  This one leaves a mark with each batch.
PUSH = """
if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
  for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
end
return redis.call('LLEN', KEYS[1])
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
        queue = QueueState(storm.server.client())
        started = time.monotonic()
        for number, fault in enumerate(faulted):
            _push(queue, number, plan.payloads[number::faults])
            storm.befall(fault)
        storm.calm()
        storm_seconds = time.monotonic() - started
        done_in_storm = queue.stats.get("done", 0)
        problems = _await_calm(queue, len(plan.dead))
        calm_seconds = time.monotonic() - started - storm_seconds
        verdict = audit(storm, queue, plan)
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


def _push(queue: QueueState, batch: int, payloads: tuple[bytes, ...]) -> None:
    """Push until Redis says that it has them."""
    deadline = time.monotonic() + PUSH_SECONDS
    while True:
        try:
            queue.client.eval(PUSH, 2, LIST, f"{PREFIX}pushed", batch, *payloads)
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_EVERY_SECONDS)
        else:
            return


def _await_calm(queue: QueueState, dead: int) -> list[str]:
    """Wait until nothing waits, is due or runs; give up when nothing moves any more."""
    moved, last = time.monotonic(), None
    while True:
        # A Redis that stalls, because its disk is busy, is looked at later.
        with suppress(redis.RedisError):
            now = (queue.stats, queue.lengths)
            if queue.quiet and queue.lengths[4] >= dead:
                return []
            if now != last:
                moved, last = time.monotonic(), now
        if time.monotonic() - moved > STILL_SECONDS:
            return [f"nothing moved for {STILL_SECONDS:g} s: {last}"]
        time.sleep(LOOK_EVERY_SECONDS)
