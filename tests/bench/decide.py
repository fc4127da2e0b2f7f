"""`decide()` and `learn()` on 5,000 pools, in microseconds of processor time each.

Every pool has a policy with all steps switched on, a past of its own and a backlog that moves
from tick to tick, so that no two decisions in a row are alike. Prints one JSON line last.
"""

import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from workerpool_operator.decide import NO_HISTORY, decide
from workerpool_operator.learn import NOTHING, Learnt, learn
from workerpool_operator.model import (
    Backlog,
    Fallback,
    History,
    Observation,
    Policy,
    RateLimit,
    Schedule,
)

POOLS = 5_000
TICKS = 40
WARM_UP = 10
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Pool:
    policy: Policy
    replicas: int = 0
    history: History = NO_HISTORY
    learnt: Learnt = NOTHING
    done: int = 0


def plain(number: int) -> Policy:
    """Return what most pools are: a target and a window."""
    return Policy(max_replicas=40, backlog_per_replica=1 + number % 20)


def full(number: int) -> Policy:
    """Return a pool with every step switched on."""
    return Policy(
        max_replicas=40,
        drain=timedelta(seconds=10 + number % 50),
        max_wait=MINUTE,
        standby=2,
        up_limit=RateLimit(MINUTE, percent=100),
        down_limit=RateLimit(MINUTE, replicas=5),
        schedules=(
            Schedule("0 8 * * MON-FRI", ZoneInfo("Europe/Berlin"), 600 * MINUTE, 1 + number % 9),
        ),
        fallback=Fallback(5, 5 * MINUTE),
    )


def measure(pools: list[Pool]) -> tuple[float, float]:
    """Return microseconds of one decision and of one lesson, as medians over the ticks."""
    random = Random(1)
    deciding, learning = [], []
    for tick in range(WARM_UP + TICKS):
        at = START + tick * timedelta(seconds=5)
        backlogs = []
        for pool in pools:
            pool.done += random.randrange(20)
            busy = pool.done * timedelta(seconds=0.4)
            waiting, in_flight = random.randrange(400), random.randrange(20)
            backlogs.append(Backlog(waiting, in_flight=in_flight, done=pool.done, busy=busy))
        began = time.process_time_ns()
        for pool, backlog in zip(pools, backlogs, strict=True):
            pool.learnt = learn(pool.learnt, at, backlog)
        learnt = time.process_time_ns()
        for pool, backlog in zip(pools, backlogs, strict=True):
            observation = Observation(at, pool.replicas, backlog, pool.learnt.pace(at))
            decision = decide(observation, pool.policy, pool.history)
            pool.replicas, pool.history = decision.desired, decision.history
        decided = time.process_time_ns()
        learning.append((learnt - began) / 1000 / len(pools))
        deciding.append((decided - learnt) / 1000 / len(pools))
    return statistics.median(deciding[WARM_UP:]), statistics.median(learning[WARM_UP:])


def main() -> None:
    """Measure both kinds of pools, and print it."""
    result: dict[str, object] = {"benchmark": "decide", "pools": POOLS, "ticks": TICKS}
    for name, make in (("plain", plain), ("full", full)):
        decided, learnt = measure([Pool(make(number)) for number in range(POOLS)])
        print(f"{name:<6} policy: decide {decided:6.1f} µs, learn {learnt:6.1f} µs")
        result[f"decide_{name}_us"] = round(decided, 1)
        result[f"learn_{name}_us"] = round(learnt, 1)
    load = os.getloadavg()[0]
    result["ran_on"] = f"Python {platform.python_version()}, processor time, load {load:.1f}"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
