"""What befalls whom, and when: a pure function of the seed.

    plan = schedule(seed=7, faults=300)

The same seed gives the same faults in the same order with the same pauses; `digest` shows it.
"""

import hashlib
from dataclasses import astuple, dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """Everything that can go wrong, and does; and the operator's, who closes idle pods."""

    KILL_CHILD = "kill_child"
    STOP_CHILD = "stop_child"
    KILL_SUPERVISOR = "kill_supervisor"
    STOP_SUPERVISOR = "stop_supervisor"
    END_SUPERVISOR = "end_supervisor"
    KILL_REDIS = "kill_redis"
    STOP_REDIS = "stop_redis"
    CUT_NETWORK = "cut_network"
    PART_NETWORK = "part_network"
    STALL_NETWORK = "stall_network"
    RETIRE = "retire"
    RETIRE_FOR_GOOD = "retire_for_good"
    RETIRE_AND_VANISH = "retire_and_vanish"


# One round holds each kind so often, and lasts so many seconds (one of them, by chance).  The
# lease of the storm is 2 s: some faults end before a lease does, and some long after.
DECK: dict[Kind, tuple[int, tuple[float, ...]]] = {
    Kind.KILL_CHILD: (4, (0.0,)),
    Kind.STOP_CHILD: (2, (0.3, 1.0, 4.0)),
    Kind.KILL_SUPERVISOR: (2, (0.0,)),
    Kind.STOP_SUPERVISOR: (2, (0.3, 1.0, 4.0)),
    Kind.END_SUPERVISOR: (1, (0.0,)),
    Kind.KILL_REDIS: (2, (0.0, 0.2, 3.0)),
    Kind.STOP_REDIS: (1, (0.1, 1.0, 3.0)),
    Kind.CUT_NETWORK: (2, (0.0,)),
    Kind.PART_NETWORK: (1, (0.5, 4.0)),
    Kind.STALL_NETWORK: (1, (0.5, 4.0)),
    Kind.RETIRE: (2, (0.5, 1.0, 3.0)),
    Kind.RETIRE_FOR_GOOD: (1, (0.1, 1.0)),
    Kind.RETIRE_AND_VANISH: (1, (0.5, 1.0, 3.0)),
}
LONGEST_PAUSE_SECONDS = 1.5
RETIREMENTS = frozenset({Kind.RETIRE, Kind.RETIRE_FOR_GOOD, Kind.RETIRE_AND_VANISH})
"""These wait by themselves, for an idle pod: the next fault need not wait for them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: whom it hits, how long it lasts, and how long nothing new happens after it."""

    kind: Kind
    place: int
    seconds: float
    pause: float


def schedule(seed: int, *, faults: int, places: int) -> tuple[Fault, ...]:
    """Shuffle round after round, so that even a short storm has every kind."""
    chance = Random(seed)
    made: list[Fault] = []
    while len(made) < faults:
        kinds = [kind for kind, (often, _) in DECK.items() for _ in range(often)]
        chance.shuffle(kinds)
        made += [
            Fault(
                kind=kind,
                place=chance.randrange(places),
                seconds=chance.choice(DECK[kind][1]),
                pause=_pause(kind, chance),
            )
            for kind in kinds
        ]
    return tuple(made[:faults])


def _pause(kind: Kind, chance: Random) -> float:
    return 0.0 if kind in RETIREMENTS else round(chance.uniform(0.0, LONGEST_PAUSE_SECONDS), 3)


def digest(faults: tuple[Fault, ...]) -> str:
    """Name a schedule: two runs with the same digest saw the same faults."""
    return hashlib.sha256(repr([astuple(fault) for fault in faults]).encode()).hexdigest()[:12]
