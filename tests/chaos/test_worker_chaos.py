"""A short storm, with every kind of fault; `make chaos` is the long one.

The seed is printed; the same storm again: `make chaos SEED=<seed> JOBS=<jobs> FAULTS=<faults>`.
"""

import json
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from support.chaos.faults import DECK, Kind, digest, schedule
from support.chaos.jobs import QUEUES, REASONS, RIVALS, WAITS, job
from support.chaos.places import PLACES
from support.chaos.run import run

JOBS = 1500
FAULTS = sum(often for often, _ in DECK.values()) * 2


@pytest.mark.timeout(900)
def test_a_storm_loses_nothing_and_buries_only_the_planned(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or Random().randrange(1, 2**31)
    print(f"\nCHAOS_SEED={seed}")  # noqa: T201 (to run it again)
    outcome = run(tmp_path, seed=seed, jobs=JOBS, faults=FAULTS)
    print(json.dumps(outcome.figures))  # noqa: T201
    assert outcome.problems == []


def test_a_seed_names_its_faults_for_ever() -> None:
    storm = schedule(7, faults=FAULTS, places=PLACES)
    assert storm == schedule(7, faults=FAULTS, places=PLACES)
    assert storm[:10] == schedule(7, faults=10, places=PLACES)
    assert digest(storm) == digest(schedule(7, faults=FAULTS, places=PLACES))
    assert digest(storm) != digest(schedule(8, faults=FAULTS, places=PLACES))


def test_even_a_short_storm_has_every_kind_of_fault() -> None:
    assert {fault.kind for fault in schedule(1, faults=FAULTS // 2, places=PLACES)} == set(Kind)


def test_even_a_short_storm_has_every_kind_of_job() -> None:
    jobs = [job(number) for number in range(JOBS)]
    assert {one.plan for one in jobs} == {"", *REASONS}
    pushes = Counter((one.queue, one.id) for one in jobs if one.id)
    assert set(pushes.values()) == {2, 3}, "how often work with an id is pushed"
    assert {one.plan for one in jobs if one.id} == {"", *RIVALS}
    assert {one.queue for one in jobs if one.id} == set(QUEUES)
    for queue in QUEUES:
        assert {one.wait for one in jobs if one.queue == queue} == {0.0, *WAITS.values()}
