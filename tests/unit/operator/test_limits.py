"""What stands around the demand: standby, rates, schedules, fallback, one-way pause, losses."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from workerpool_operator.decide import LOSS_HOLD, NO_HISTORY, decide
from workerpool_operator.model import (
    Backlog,
    Decision,
    Fallback,
    History,
    Loss,
    Observation,
    Places,
    Policy,
    RateLimit,
    Reason,
    Schedule,
)
from workerpool_operator.schedule import floor, problem

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = Schedule("0 8 * * MON-FRI", BERLIN, timedelta(hours=10), 5)
AT_ONCE = Policy(max_replicas=100, backlog_per_replica=1, stabilization=timedelta(0))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def decided(backlog: Backlog | None, policy: Policy, replicas: int = 0) -> Decision:
    return decide(Observation(NOW, replicas, backlog), policy)


def replay(
    waiting: Sequence[int | None], policy: Policy, *, step: float = 10, replicas: int = 0
) -> list[int]:
    """Return the replicas after each reading, every decision carried out at once."""
    counts, history = [], NO_HISTORY
    for number, count in enumerate(waiting):
        backlog = None if count is None else Backlog(count)
        at = NOW + number * seconds(step)
        decision = decide(Observation(at, replicas, backlog), policy, history)
        replicas, history = decision.desired, decision.history
        counts.append(replicas)
    return counts


# --- standby


@pytest.mark.parametrize(
    ("waiting", "desired", "reason"),
    [
        (0, 0, Reason.IDLE),  # a pool without work costs nothing
        (1, 4, Reason.STANDBY),
        (20, 23, Reason.STANDBY),
        (98, 100, Reason.MAX_REPLICAS),
    ],
)
def test_standby_is_added_while_there_is_work(waiting: int, desired: int, reason: Reason) -> None:
    decision = decided(Backlog(waiting), replace(AT_ONCE, standby=3))

    assert (decision.desired, decision.reason) == (desired, reason)


def test_standby_is_told_beside_the_demand() -> None:
    policy = replace(AT_ONCE, backlog_per_replica=10, standby=2)

    assert decided(Backlog(25), policy).message == (
        "25 waiting at 10 per replica ask for 3, and 2 stand by: 5 replicas"
    )


# --- limits of rate


@pytest.mark.parametrize(
    ("limit", "waiting", "replicas"),
    [
        # Four more within 30 s, looked at every 10 s.
        (RateLimit(seconds(30), replicas=4), [50] * 7, [4, 4, 4, 8, 8, 8, 12]),
        # Double within 30 s, and from zero by one.
        (RateLimit(seconds(30), percent=100), [50] * 10, [1, 1, 1, 2, 2, 2, 4, 4, 4, 8]),
        # What went down meanwhile does not buy a second helping.
        (RateLimit(seconds(30), replicas=4), [50, 0, 50, 50], [4, 0, 4, 4]),
        (RateLimit(seconds(30), replicas=60), [50, 50], [50, 50]),
    ],
)
def test_a_pool_grows_no_faster_than_its_limit(
    limit: RateLimit, waiting: list[int], replicas: list[int]
) -> None:
    assert replay(waiting, replace(AT_ONCE, up_limit=limit)) == replicas


@pytest.mark.parametrize(
    ("limit", "replicas"),
    [
        # Nothing for the first period: before a restart, all that may go may have gone.
        (RateLimit(seconds(30), replicas=4), [20, 20, 20, 16, 16, 16, 12, 12, 12, 8]),
        (RateLimit(seconds(30), percent=50), [20, 20, 20, 10, 10, 10, 5, 5, 5, 3]),
        (RateLimit(seconds(30), percent=100), [20, 20, 20, 0, 0, 0, 0, 0, 0, 0]),
        (RateLimit(seconds(30), percent=1), [20, 20, 20, 19, 19, 19, 18, 18, 18, 17]),
    ],
)
def test_a_pool_shrinks_no_faster_than_its_limit(limit: RateLimit, replicas: list[int]) -> None:
    assert replay([0] * 10, replace(AT_ONCE, down_limit=limit), replicas=20) == replicas


def test_a_limit_of_rate_says_what_it_cut() -> None:
    policy = replace(AT_ONCE, up_limit=RateLimit(seconds(60), percent=50))

    decision = decided(Backlog(50), policy, replicas=10)

    assert (decision.desired, decision.reason) == (15, Reason.SCALE_UP_LIMITED)
    assert decision.message == (
        "50 waiting at 1 per replica ask for 50, but scaleUp.limit adds no more than 5 within "
        "60 s: 15 replicas"
    )


@pytest.mark.parametrize(
    ("policy", "lifted"),
    [
        (Policy(min_replicas=5), "minReplicas"),
        (Policy(schedules=(OFFICE,)), "the schedule 0 8 * * MON-FRI (Europe/Berlin)"),
    ],
)
def test_a_floor_that_lifts_above_what_may_be_added_is_named(policy: Policy, lifted: str) -> None:
    policy = replace(policy, up_limit=RateLimit(seconds(60), replicas=1))

    decision = decided(Backlog(90), policy)

    assert (decision.desired, decision.reason) == (5, Reason.SCALE_UP_LIMITED)
    assert decision.message == (
        "90 waiting at 10 per replica ask for 9, but scaleUp.limit adds no more than 1 within "
        f"60 s, lifted by {lifted}: 5 replicas"
    )


def test_a_limit_of_rate_on_the_way_down_says_so() -> None:
    policy = replace(AT_ONCE, down_limit=RateLimit(seconds(60), replicas=2))
    past = History(since=NOW - seconds(60))

    decision = decide(Observation(NOW, 10, Backlog(0)), policy, past)

    assert (decision.desired, decision.reason) == (8, Reason.SCALE_DOWN_LIMITED)
    assert decision.message == (
        "no jobs, but scaleDown.limit takes away no more than 2 within 60 s: 8 replicas"
    )


def test_a_floor_and_the_ceiling_hold_at_once_whatever_the_rates() -> None:
    slow = RateLimit(seconds(60), replicas=1)
    policy = replace(AT_ONCE, up_limit=slow, down_limit=slow)

    lifted = decided(Backlog(0), replace(policy, min_replicas=30))
    cut = decided(Backlog(0), replace(policy, max_replicas=30), replicas=80)

    assert (lifted.desired, lifted.reason) == (30, Reason.IDLE)
    assert (cut.desired, cut.reason) == (30, Reason.SCALE_DOWN_LIMITED)
    assert cut.message.endswith("within 60 s, limited by maxReplicas: 30 replicas")


# --- the one-way pause


def test_a_pool_that_must_not_shrink_still_grows() -> None:
    policy = replace(AT_ONCE, only_up=True)

    assert replay([5, 0, 0, 20, 3], policy) == [5, 5, 5, 20, 20]
    kept = decided(Backlog(0), policy, replicas=7)
    assert kept.reason is Reason.SCALE_DOWN_DISABLED
    assert kept.message == "no jobs, but scaleDown.disabled: true takes nobody away: 7 replicas"


# --- fallback


def test_a_queue_unreadable_for_long_gets_the_fallback_and_keeps_what_is_more() -> None:
    policy = replace(AT_ONCE, fallback=Fallback(5, seconds(30)))
    dark = [None] * 5

    assert replay([2, *dark], policy) == [2, 2, 2, 2, 5, 5]
    assert replay([8, *dark], policy) == [8, 8, 8, 8, 8, 8]
    assert replay([2, None, None, 2, *dark], policy) == [2, 2, 2, 2, 2, 2, 2, 5, 5]


def test_the_fallback_says_so_and_stays_within_the_maximum() -> None:
    policy = replace(AT_ONCE, max_replicas=4, fallback=Fallback(5, seconds(30)))
    dark = History(unread_since=NOW - seconds(30))

    decision = decide(Observation(NOW, 1, None), policy, dark)

    assert (decision.desired, decision.reason, decision.demand) == (4, Reason.FALLBACK, None)
    assert decision.message == (
        "the queue cannot be read, so its backlog is unknown, for longer than "
        "fallback.afterSeconds: 4 replicas"
    )
    later = decide(Observation(NOW + seconds(5), 4, None), policy, decision.history)
    assert (later.desired, later.reason) == (4, Reason.FALLBACK)


def test_the_fallback_asks_for_no_more_than_there_is_room_for() -> None:
    policy = replace(AT_ONCE, fallback=Fallback(5, seconds(30)))
    dark = History(unread_since=NOW - seconds(30))

    rejected = Observation(NOW, 2, None, places=Places(2, 1, refusal="SMT", tried=0))
    full = Observation(NOW, 1, None, places=Places(2, 1))

    decision = decide(rejected, policy, dark)
    assert (decision.desired, decision.reason) == (2, Reason.PODS_REJECTED)
    assert decision.shortage
    decision = decide(full, policy, dark)
    assert (decision.desired, decision.reason) == (3, Reason.INSUFFICIENT_CORES)


def test_readings_that_fail_now_and_then_do_not_lift_a_limit_of_rate() -> None:
    policy = replace(AT_ONCE, up_limit=RateLimit(seconds(3600), replicas=5))

    assert replay([50, None] * 20, policy)[-1] == 5


# --- lost data


def test_lost_jobs_keep_their_replicas_for_a_while() -> None:
    policy = replace(AT_ONCE, stabilization=seconds(10))
    loss = Loss(NOW, 40)

    def after(passed: timedelta) -> Decision:
        return decide(Observation(NOW + passed, 9, Backlog(0), loss=loss), policy)

    during, over = after(LOSS_HOLD - seconds(1)), after(LOSS_HOLD)
    assert (during.desired, during.reason) == (9, Reason.DATA_LOST)
    assert during.message == (
        "no jobs, but Redis lost 40 jobs, so nobody goes for 300 s: 9 replicas"
    )
    assert over.reason is not Reason.DATA_LOST


def test_a_loss_never_stops_a_scale_out() -> None:
    observation = Observation(NOW, 2, Backlog(30), loss=Loss(NOW, 1))

    decision = decide(observation, AT_ONCE)

    assert (decision.desired, decision.reason) == (30, Reason.BACKLOG)


# --- schedules


@pytest.mark.parametrize(
    ("local", "least"),
    [
        ("2026-03-02 07:59:59", 0),  # Monday
        ("2026-03-02 08:00:00", 5),
        ("2026-03-02 17:59:59", 5),
        ("2026-03-02 18:00:00", 0),
        ("2026-03-07 12:00:00", 0),  # Saturday
        ("2026-07-01 08:00:00", 5),  # in summer time, too
        ("2026-07-01 07:59:59", 0),
    ],
)
def test_a_schedule_lifts_the_floor_for_its_duration(local: str, least: int) -> None:
    at = datetime.fromisoformat(local).replace(tzinfo=BERLIN).astimezone(UTC)

    assert floor(Policy(schedules=(OFFICE,)), at)[0] == least


@pytest.mark.parametrize(
    ("cron", "at", "in_force"),
    [
        # In spring 02:30 does not exist in Berlin: it comes at 03:00, 01:00 UTC.
        ("30 2 * * *", "2026-03-29 00:59:00", False),
        ("30 2 * * *", "2026-03-29 01:00:00", True),
        ("30 2 * * *", "2026-03-29 01:09:59", True),
        ("30 2 * * *", "2026-03-29 01:10:00", False),
        # In autumn 02:30 comes twice, at 00:30 and 01:30 UTC, and counts once.
        ("30 2 * * *", "2026-10-25 00:29:59", False),
        ("30 2 * * *", "2026-10-25 00:30:00", True),
        ("30 2 * * *", "2026-10-25 01:35:00", False),
        # It goes on for its whole duration, also from within the hour that comes twice.
        ("0 2 * * *", "2026-10-25 00:09:00", True),
        ("55 2 * * *", "2026-10-25 01:04:00", True),
        ("55 2 * * *", "2026-10-25 01:06:00", False),
        # Every hour is every hour, also the one that comes twice.
        ("30 * * * *", "2026-10-25 00:35:00", True),
        ("30 * * * *", "2026-10-25 01:35:00", True),
    ],
)
def test_a_clock_change_neither_skips_nor_doubles_a_schedule(
    cron: str,
    at: str,
    in_force: bool,  # noqa: FBT001
) -> None:
    ten_minutes = Schedule(cron, BERLIN, timedelta(minutes=10), 5)
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)

    assert (floor(Policy(schedules=(ten_minutes,)), moment)[0] == 5) is in_force


@pytest.mark.parametrize("minute", range(90))
def test_a_schedule_has_no_hole_in_the_hour_that_comes_twice(minute: int) -> None:
    night = Policy(schedules=(Schedule("30 2 * * *", BERLIN, timedelta(minutes=90), 5),))
    begins = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    assert floor(night, begins + timedelta(minutes=minute))[0] == 5
    assert floor(night, begins + timedelta(minutes=90 + minute))[0] == 0


def test_a_day_of_23_hours_ends_a_schedule_after_its_duration() -> None:
    """Ten hours from Sunday 00:00 of the spring change end at 11:00 by the clock."""
    night = Schedule("0 0 * * SUN", BERLIN, timedelta(hours=10), 5)
    policy = Policy(schedules=(night,))

    before = datetime(2026, 3, 29, 10, 59, tzinfo=BERLIN).astimezone(UTC)
    assert floor(policy, before)[0] == 5
    assert floor(policy, before + timedelta(minutes=1))[0] == 0


def test_of_several_floors_the_highest_counts_and_never_more_than_the_maximum() -> None:
    always = Schedule("0 * * * *", ZoneInfo("UTC"), timedelta(hours=1), 3)
    policy = Policy(min_replicas=1, max_replicas=4, schedules=(always, OFFICE))

    assert floor(policy, NOW) == (4, OFFICE)
    assert floor(policy, NOW + timedelta(hours=12)) == (3, always)
    assert floor(replace(policy, schedules=()), NOW) == (1, None)


def test_a_schedule_says_so() -> None:
    decision = decided(Backlog(0), replace(AT_ONCE, schedules=(OFFICE,)))

    assert (decision.desired, decision.reason) == (5, Reason.SCHEDULE)
    assert decision.message == (
        "no jobs, lifted by the schedule 0 8 * * MON-FRI (Europe/Berlin): 5 replicas"
    )


def test_the_end_of_a_schedule_is_followed_after_the_window() -> None:
    policy = replace(AT_ONCE, schedules=(OFFICE,), stabilization=seconds(60))
    evening = datetime(2026, 3, 2, 17, 59, 30, tzinfo=BERLIN).astimezone(UTC)
    counts, replicas, history = [], 5, NO_HISTORY
    for number in range(5):
        at = evening + number * seconds(30)
        decision = decide(Observation(at, replicas, Backlog(0)), policy, history)
        replicas, history = decision.desired, decision.history
        counts.append(replicas)

    assert counts == [5, 5, 0, 0, 0]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 8 * * 1-5", None),
        ("*/15 8-18 1,15 JAN-MAR *", None),
        ("0 8 * *", "five fields"),
        ("0 0 8 * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 8 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 8 * * MO", "day-of-week"),
        ("0 0 30 2 *", "day-of-month"),
        ("0 0 31 4,6 *", "day-of-month"),
    ],
)
def test_a_wrong_cron_expression_is_named(cron: str, words: str | None) -> None:
    found = problem(cron)

    assert found is None if words is None else words in (found or "")
