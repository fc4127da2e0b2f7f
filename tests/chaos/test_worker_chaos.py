"""A short storm, with every kind of fault; `make chaos` is the long one.

The seed is printed; the same storm again: `make chaos SEED=<seed> JOBS=<jobs> FAULTS=<faults>`.
"""

import json
import os
from pathlib import Path
from random import Random

import pytest

from support.chaos.faults import DECK, Kind, digest, schedule
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
    storm = schedule(7, faults=FAULTS, places=3)
    assert storm == schedule(7, faults=FAULTS, places=3)
    assert storm[:10] == schedule(7, faults=10, places=3)
    assert digest(storm) == digest(schedule(7, faults=FAULTS, places=3))
    assert digest(storm) != digest(schedule(8, faults=FAULTS, places=3))


def test_even_a_short_storm_has_every_kind_of_fault() -> None:
    assert {fault.kind for fault in schedule(1, faults=18, places=3)} == set(Kind)
