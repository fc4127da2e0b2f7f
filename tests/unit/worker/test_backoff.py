from random import Random

from hypothesis import given
from hypothesis import strategies as st

from image_worker.backoff import Backoff, full_jitter


@given(st.integers(0, 10_000), st.integers())
def test_a_wait_is_never_negative_nor_above_the_cap(failures: int, seed: int) -> None:
    wait = full_jitter(failures, base_seconds=1, cap_seconds=300, chance=Random(seed))
    assert 0 <= wait <= min(300, 2 ** max(0, min(failures, 20) - 1))


def test_waits_are_spread_over_the_whole_interval() -> None:
    chance = Random(1)
    waits = [full_jitter(5, base_seconds=1, cap_seconds=300, chance=chance) for _ in range(2000)]
    eighths = {int(wait / 2) for wait in waits}
    assert eighths == set(range(8))


def test_a_loop_waits_longer_and_longer_and_never_spins() -> None:
    class Most(Random):
        def uniform(self, a: float, b: float) -> float:  # noqa: ARG002
            return b

    backoff = Backoff(base_seconds=0.05, cap_seconds=5, chance=Most())
    waits = [backoff.next_seconds() for _ in range(9)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    backoff.reset()
    assert backoff.next_seconds() == 0.05

    class Least(Random):
        def uniform(self, a: float, b: float) -> float:  # noqa: ARG002
            return a

    assert Backoff(base_seconds=0.05, cap_seconds=5, chance=Least()).next_seconds() == 0.025
