"""What readings of a queue teach, and what they do not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workerpool_operator.decide import RATE_KNOWN_AFTER
from workerpool_operator.learn import (
    ARRIVALS_KEPT,
    BUCKET,
    BUCKETS,
    HALF_LIFE_JOBS,
    Learnt,
    learn,
)
from workerpool_operator.model import Backlog, Loss

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def steady(per_second: int, seconds: int, learnt: Learnt | None = None) -> Learnt:
    """Jobs arrive and are done at once, at a constant rate, read every second."""
    learnt = learnt or Learnt()
    for second in range(seconds + 1):
        learnt = learn(learnt, after(second), Backlog(0, done=per_second * second))
    return learnt


def test_nothing_is_known_before_the_first_reading() -> None:
    pace = Learnt().pace(START)
    assert (pace.arrivals_per_second, pace.job, pace.oldest_wait) == (None, None, None)


def test_the_arrival_rate_is_unknown_until_half_the_periods_have_passed() -> None:
    enough = BUCKET.total_seconds() * BUCKETS / 2
    assert steady(4, int(enough) - 1).pace(after(enough - 1)).arrivals_per_second is None
    assert steady(4, int(enough)).pace(after(enough)).arrivals_per_second == pytest.approx(
        4, rel=0.1
    )


def test_nobody_goes_before_the_rate_can_be_known() -> None:
    assert RATE_KNOWN_AFTER == BUCKET * (BUCKETS // 2)


def test_jobs_that_came_and_went_between_two_readings_are_counted() -> None:
    learnt = learn(Learnt(), START, Backlog(10, done=100))
    learnt = learn(learnt, after(1), Backlog(5, in_flight=2, done=110, buried=1))
    assert learnt.arrived == 10 + 8


def test_one_giant_batch_is_no_rate() -> None:
    learnt = steady(4, 60)
    learnt = learn(learnt, after(61), Backlog(10_000, done=244))
    learnt = learn(learnt, after(70), Backlog(9_000, done=1_280))
    assert learnt.pace(after(70)).arrivals_per_second == pytest.approx(4, rel=0.25)


def test_silence_ends_a_rate_within_a_minute() -> None:
    learnt = learn(steady(4, 60), after(120), Backlog(0, done=240))
    assert learnt.pace(after(120)).arrivals_per_second == 0


def test_an_hour_of_silence_costs_no_memory() -> None:
    learnt = learn(steady(4, 60), after(3_660), Backlog(0, done=240))
    assert len(learnt.buckets) == BUCKETS + 1


def test_the_first_jobs_tell_their_mean_time() -> None:
    learnt = learn(Learnt(), START, Backlog(9))
    learnt = learn(learnt, after(2), Backlog(5, done=4, busy=timedelta(seconds=8)))
    assert learnt.pace(after(2)).job == timedelta(seconds=2)


def test_the_mean_time_is_half_way_after_its_half_life() -> None:
    learnt = Learnt(job_seconds=1.0, jobs=1_000, last=Backlog(0), bucket_at=START, buckets=(0,))
    busy = timedelta(seconds=2 * HALF_LIFE_JOBS)
    learnt = learn(learnt, after(1), Backlog(0, done=HALF_LIFE_JOBS, busy=busy))
    assert learnt.job_seconds == pytest.approx(1.5)


def test_the_first_job_is_believed_no_longer_than_until_there_are_others() -> None:
    """Ten jobs: one of 5 s and nine of 1 s, read one by one."""
    learnt, busy = learn(Learnt(), START, Backlog(10)), 0
    for number, took in enumerate([5, *[1] * 9], start=1):
        busy += took
        reading = Backlog(10 - number, done=number, busy=timedelta(seconds=busy))
        learnt = learn(learnt, after(number), reading)

    assert learnt.job_seconds == pytest.approx(1.4)


def test_one_stuck_job_hardly_moves_the_mean_time() -> None:
    learnt = Learnt(job_seconds=0.1, jobs=1_000, last=Backlog(0), bucket_at=START, buckets=(0,))
    learnt = learn(learnt, after(1), Backlog(0, done=1, busy=timedelta(seconds=120)))
    assert learnt.job_seconds is not None
    assert learnt.job_seconds < 0.12


def test_counters_that_start_anew_are_no_arrivals() -> None:
    learnt = steady(4, 60)
    again = learn(learnt, after(61), Backlog(3, done=1))
    assert again.arrived == 3
    assert again.job_seconds == learnt.job_seconds


def test_the_oldest_wait_is_that_of_the_head_of_the_list() -> None:
    learnt = learn(Learnt(), START, Backlog(0))
    learnt = learn(learnt, after(1), Backlog(10))
    learnt = learn(learnt, after(5), Backlog(15))
    assert learnt.pace(after(6)).oldest_wait == timedelta(seconds=5)
    learnt = learn(learnt, after(7), Backlog(4, done=11))
    assert learnt.pace(after(8)).oldest_wait == timedelta(seconds=3)
    learnt = learn(learnt, after(9), Backlog(0, done=15))
    assert learnt.pace(after(9)).oldest_wait is None


def test_a_job_that_was_handed_back_waits_from_then_on() -> None:
    learnt = learn(Learnt(), START, Backlog(1))
    learnt = learn(learnt, after(1), Backlog(0, in_flight=1))
    learnt = learn(learnt, after(2), Backlog(1))
    assert learnt.pace(after(9)).oldest_wait == timedelta(seconds=7)


def test_jobs_that_took_no_time_do_not_hide_how_long_others_take() -> None:
    learnt = learn(Learnt(), START, Backlog(9))
    learnt = learn(learnt, after(1), Backlog(8, done=1))
    learnt = learn(learnt, after(2), Backlog(7, done=2, busy=timedelta(seconds=10)))
    assert learnt.pace(after(2)).job == timedelta(seconds=10)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50), st.integers(0, 50)), max_size=200))
@example([(1, 1, 0)] * (ARRIVALS_KEPT + 1) + [(1, 0, ARRIVALS_KEPT)])
def test_whatever_comes_memory_is_bounded_and_ages_are_true(
    steps: list[tuple[float, int, int]],
) -> None:
    """Against a list that remembers when each of its jobs came."""
    now, done = 0.0, 0
    queue: list[float] = []
    learnt = learn(Learnt(), START, Backlog(0))
    for pause, arrivals, wanted in steps:
        now += pause
        queue += [now] * arrivals
        taken = min(wanted, len(queue))
        del queue[:taken]
        done += taken
        learnt = learn(learnt, after(now), Backlog(len(queue), done=done))
        wait = learnt.pace(after(now)).oldest_wait
        assert (wait is None) == (not queue)
        if wait is not None:
            merged = len(learnt.marks) >= ARRIVALS_KEPT / 2
            true = now - queue[0]
            assert wait.total_seconds() == pytest.approx(true, abs=1e-3) or (
                merged and wait.total_seconds() >= true
            )
        assert len(learnt.marks) <= ARRIVALS_KEPT
        assert len(learnt.buckets) <= BUCKETS + 1


# --- lost data


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        # A restart without persistence: jobs and counters are gone.
        (Backlog(40, done=9, server="one"), Backlog(0, server="two"), 40),
        (Backlog(40, in_flight=2, server="one"), Backlog(3, server="two"), 39),
        # The same restart with nothing in the queue takes nothing.
        (Backlog(0, done=9, server="one"), Backlog(0, server="two"), None),
        # A restart with persistence, and a failover: what was there is there.
        (Backlog(40, done=9, server="one"), Backlog(40, done=9, server="two"), None),
        (Backlog(40, done=9, server="one"), Backlog(0, done=49, server="two"), None),
        # Some were done by those who came back first.
        (Backlog(40, done=9, server="one"), Backlog(2, done=1, server="two"), 40),
        # An older copy of everything.
        (Backlog(40, done=900, server="one"), Backlog(0, done=500, server="two"), 40),
        (Backlog(40, done=900, server="one"), Backlog(35, done=900, server="two"), 5),
        # Nobody keeps counters there, and five were taken meanwhile.
        (Backlog(40, server="one"), Backlog(35, server="two"), None),
        (Backlog(40, server="one"), Backlog(0, server="two"), 40),
        # Nobody restarted: worked off, or deleted by hand.
        (Backlog(40, done=9, server="one"), Backlog(0, done=49, server="one"), None),
        (Backlog(40, server="one"), Backlog(0, server="one"), None),
        # INFO is refused: nobody knows.
        (Backlog(40, done=9), Backlog(0), None),
        (Backlog(40, done=9), Backlog(0, server="two"), None),
        (Backlog(40, done=9, server="one"), Backlog(0), None),
    ],
)
def test_a_list_that_vanished_with_its_server_is_told_from_an_empty_one(
    before: Backlog, after: Backlog, lost: int | None
) -> None:
    learnt = learn(learn(Learnt(), START, before), START, after)

    assert learnt.loss == (None if lost is None else Loss(START, lost))


def test_a_loss_is_remembered_and_nothing_else_of_that_life() -> None:
    full = Backlog(40, done=9, busy=timedelta(seconds=18), server="one")
    learnt = learn(learn(steady(4, 60), START, full), START, Backlog(0, server="two"))
    later = learn(learnt, after(1), Backlog(5, server="two"))

    assert later.loss == learnt.loss
    assert later.pace(after(1)).arrivals_per_second is None
    assert later.pace(after(1)).oldest_wait == timedelta(0)
