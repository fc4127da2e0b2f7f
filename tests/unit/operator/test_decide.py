"""The decision: each step as a table, the whole as laws, time as stories."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workerpool_operator.decide import LOSS_HOLD, NO_HISTORY, RATE_KNOWN_AFTER, decide
from workerpool_operator.model import (
    Backlog,
    Decision,
    Fallback,
    History,
    Loss,
    Observation,
    Pace,
    Places,
    Policy,
    RateLimit,
    Reason,
    Sample,
    Schedule,
)
from workerpool_operator.window import LIMIT

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Drawn = TypeVar("Drawn")


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def seen(backlog: Backlog | None, replicas: int = 0, *, at: datetime = NOW) -> Observation:
    return Observation(at, replicas, backlog)


# --- steps, as tables


@pytest.mark.parametrize(
    ("backlog", "demand"),
    [
        (Backlog(0), 0),
        (Backlog(1), 1),
        (Backlog(10), 1),
        (Backlog(11), 2),
        (Backlog(200), 20),
        (Backlog(0, due=1), 1),
        (Backlog(0, in_flight=1), 1),
        (Backlog(0, orphaned=1), 1),
        (Backlog(8, due=1, in_flight=1, orphaned=1), 2),
        (Backlog(0, scheduled=99), 0),
        (Backlog(0, workers=99), 0),
    ],
)
def test_demand_is_every_job_that_needs_a_worker_now(backlog: Backlog, demand: int) -> None:
    policy = Policy(max_replicas=100, backlog_per_replica=10)

    decision = decide(seen(backlog), policy)

    assert (decision.demand, decision.desired) == (demand, demand)


@pytest.mark.parametrize(
    ("backlog", "pace", "demand"),
    [
        (Backlog(0), Pace(), 0),
        (Backlog(1), Pace(), 1),
        # 300 jobs of 2 s within 30 s: 20 workers.
        (Backlog(300), Pace(job=seconds(2)), 20),
        (Backlog(200, due=50, in_flight=50), Pace(job=seconds(2)), 20),
        # Until a duration is known, a job is taken to need 3 s.
        (Backlog(300), Pace(), 30),
        # 5 a second of 2 s keep 10 workers busy, whatever waits.
        (Backlog(0), Pace(arrivals_per_second=5, job=seconds(2)), 10),
        (Backlog(300), Pace(arrivals_per_second=5, job=seconds(2)), 30),
        # Ten jobs of five minutes: no use in more workers than jobs.
        (Backlog(10), Pace(job=seconds(300)), 10),
    ],
)
def test_a_drain_time_calls_for_what_keeps_up_and_catches_up(
    backlog: Backlog, pace: Pace, demand: int
) -> None:
    policy = Policy(max_replicas=100, drain=seconds(30), assumed_job=seconds(3))

    assert decide(Observation(NOW, 0, backlog, pace), policy).demand == demand


def test_a_replica_of_several_workers_counts_for_as_many() -> None:
    policy = Policy(max_replicas=100, drain=seconds(30), workers_per_replica=4)
    pace = Pace(job=seconds(2))

    assert decide(Observation(NOW, 0, Backlog(300), pace), policy).desired == 5


def test_a_job_that_waited_too_long_calls_for_a_worker_for_every_job() -> None:
    policy = Policy(max_replicas=50, drain=seconds(60), max_wait=seconds(20))
    early = Pace(job=seconds(1), oldest_wait=seconds(19))
    late = replace(early, oldest_wait=seconds(20))

    assert decide(Observation(NOW, 1, Backlog(30), early), policy).desired == 1
    decision = decide(Observation(NOW, 1, Backlog(30), late), policy)
    assert (decision.desired, decision.reason) == (30, Reason.MAX_WAIT)
    assert decision.message == (
        "30 waiting of 1 s each within 60 s ask for 1, but the oldest has waited 20 s: 30 replicas"
    )


@pytest.mark.parametrize(
    ("waiting", "low", "high", "desired", "reason"),
    [
        (0, 0, 10, 0, Reason.IDLE),
        (0, 2, 10, 2, Reason.IDLE),
        (5, 0, 10, 1, Reason.BACKLOG),
        (5, 2, 10, 2, Reason.MIN_REPLICAS),
        (20, 2, 10, 2, Reason.BACKLOG),
        (100, 0, 10, 10, Reason.BACKLOG),
        (101, 0, 10, 10, Reason.MAX_REPLICAS),
        (101, 10, 10, 10, Reason.MAX_REPLICAS),
        (10**12, 0, 10_000, 10_000, Reason.MAX_REPLICAS),
    ],
)
def test_bounds_cut_and_lift_and_say_so(
    waiting: int, low: int, high: int, desired: int, reason: Reason
) -> None:
    policy = Policy(min_replicas=low, max_replicas=high, backlog_per_replica=10)

    decision = decide(seen(Backlog(waiting)), policy)

    assert (decision.desired, decision.reason) == (desired, reason)


@pytest.mark.parametrize(
    ("in_flight", "cores", "replicas", "high", "desired", "reason"),
    [
        (6, 1, 8, 10, 6, Reason.BUSY),
        (6, 4, 8, 10, 2, Reason.BUSY),
        (7, 4, 8, 10, 2, Reason.BUSY),
        (9, 4, 8, 10, 3, Reason.BUSY),
        (20, 1, 8, 10, 8, Reason.BUSY),
        (8, 1, 8, 5, 5, Reason.BUSY),
        (1, 1, 8, 10, 1, Reason.BACKLOG),
        (0, 1, 8, 10, 0, Reason.IDLE),
    ],
)
def test_workers_with_a_job_in_flight_are_not_scaled_away(
    in_flight: int, cores: int, replicas: int, high: int, desired: int, reason: Reason
) -> None:
    policy = Policy(
        max_replicas=high,
        backlog_per_replica=100,
        workers_per_replica=cores,
        stabilization=timedelta(0),
    )

    decision = decide(seen(Backlog(0, in_flight=in_flight), replicas), policy)

    assert (decision.desired, decision.reason) == (desired, reason)


def test_jobs_in_flight_never_scale_out_by_themselves() -> None:
    """Nine jobs on one replica of one core: claimed by a foreign worker, or a stale lease."""
    policy = Policy(backlog_per_replica=10, workers_per_replica=1)

    assert decide(seen(Backlog(0, in_flight=9), replicas=1), policy).desired == 1


@pytest.mark.parametrize("backlog", [None, Backlog(0), Backlog(1_000)])
def test_a_paused_pool_is_held_whatever_waits(backlog: Backlog | None) -> None:
    decision = decide(seen(backlog, 7), Policy(max_replicas=3, paused=True))

    assert (decision.desired, decision.reason, decision.demand) == (7, Reason.PAUSED, None)


@pytest.mark.parametrize(
    ("observation", "policy", "message"),
    [
        (seen(Backlog(0)), Policy(), "no jobs: 0 replicas"),
        (
            seen(Backlog(0, scheduled=3)),
            Policy(min_replicas=1),
            "no jobs now, 3 to be retried later, lifted by minReplicas: 1 replica",
        ),
        (seen(Backlog(0)), Policy(min_replicas=1), "no jobs, lifted by minReplicas: 1 replica"),
        (
            seen(Backlog(12, due=1, in_flight=2, orphaned=1)),
            Policy(),
            (
                "12 waiting + 1 due again + 2 in flight + 1 left by vanished workers at 10 per "
                "replica ask for 2: 2 replicas"
            ),
        ),
        (
            seen(Backlog(200)),
            Policy(max_replicas=4),
            "200 waiting at 10 per replica ask for 20, limited by maxReplicas: 4 replicas",
        ),
        (
            seen(Backlog(0), 5),
            Policy(),
            "no jobs, but up to 5 replicas called for within the last 60 s: 5 replicas",
        ),
        (
            seen(Backlog(0, in_flight=3), 5),
            Policy(stabilization=timedelta(0)),
            (
                "0 waiting + 3 in flight at 10 per replica ask for 1, but 3 in flight keep their "
                "workers: 3 replicas"
            ),
        ),
        (
            seen(None, 1),
            Policy(),
            "the queue cannot be read, so its backlog is unknown: 1 replica kept",
        ),
        (seen(None, 2), Policy(paused=True), "paused: true holds the replicas: 2 replicas kept"),
    ],
)
def test_the_message_tells_inputs_demand_limit_and_result(
    observation: Observation, policy: Policy, message: str
) -> None:
    assert decide(observation, policy).message == message


@pytest.mark.parametrize(
    "policy",
    [
        Policy(backlog_per_replica=1_000_000),
        Policy(backlog_per_replica=1_000_000, workers_per_replica=256),
        Policy(drain=timedelta(days=1), assumed_job=timedelta(milliseconds=1)),
    ],
)
def test_a_single_job_calls_for_a_worker_however_little_it_is(policy: Policy) -> None:
    decision = decide(seen(Backlog(1)), policy)

    assert (decision.desired, decision.reason) == (1, Reason.BACKLOG)


# --- stories


def replay(
    waiting: Sequence[int | None],
    policy: Policy,
    *,
    step: float = 30,
    replicas: int = 0,
    history: History = NO_HISTORY,
) -> list[int]:
    """Return the replicas after each reading, every decision carried out at once."""
    counts = []
    for number, count in enumerate(waiting):
        backlog = None if count is None else Backlog(count)
        at = NOW + number * seconds(step)
        decision = decide(Observation(at, replicas, backlog), policy, history)
        replicas, history = decision.desired, decision.history
        counts.append(replicas)
    return counts


STORY = Policy(max_replicas=20, backlog_per_replica=10, stabilization=seconds(60))


@pytest.mark.parametrize(
    ("story", "waiting", "replicas"),
    [
        ("a burst is met in one step", [200, 0, 0, 0], [20, 20, 0, 0]),
        ("a short pause stops nobody", [40, 40, 0, 0, 40], [4, 4, 4, 0, 4]),
        ("down by the largest of the window", [100, 60, 30, 0, 0, 0], [10, 10, 6, 3, 0, 0]),
        ("an outage holds", [40, None, None, None, 40], [4, 4, 4, 4, 4]),
        ("an outage is no idle time", [40, None, None, None, 0, 0, 0], [4, 4, 4, 4, 4, 4, 0]),
        ("one lost reading is no zero", [40, None, 40, None, 40], [4, 4, 4, 4, 4]),
        ("beyond the maximum", [1_000, 1_000], [20, 20]),
    ],
)
def test_stories(story: str, waiting: Sequence[int | None], replicas: list[int]) -> None:
    assert replay(waiting, STORY) == replicas, story


def test_without_a_window_the_pool_shrinks_as_soon_as_the_work_is_done() -> None:
    policy = replace(STORY, stabilization=timedelta(0))

    assert replay([40, 40, 0, 0, 40], policy) == [4, 4, 0, 0, 4]


def test_a_restart_in_the_middle_of_a_window_starts_the_window_anew() -> None:
    assert replay([0, 0, 0], STORY, replicas=4) == [4, 4, 0]


def test_a_pause_ends_with_a_whole_window_before_anything_shrinks() -> None:
    paused = replace(STORY, paused=True)
    old = History(called=(Sample(NOW - timedelta(days=1), 0),))
    held = decide(seen(Backlog(0), 6), paused, old)

    assert replay([0, 0, 0], STORY, replicas=6, history=held.history) == [6, 6, 0]


def test_a_lower_maximum_cuts_at_once() -> None:
    held = decide(seen(Backlog(200)), STORY)

    cut = decide(seen(Backlog(200), 20), replace(STORY, max_replicas=5), held.history)

    assert (cut.desired, cut.reason) == (5, Reason.MAX_REPLICAS)


# --- laws

# Mostly small numbers, all of an example at once, and few limits: that is where the steps meet.
# Else a single step, such as the busy floor, nearly always has its way, and others may be wrong.
# What is drawn from is made once: Hypothesis looks at a new strategy for longer than it draws.
small_worlds = st.sampled_from([True, True, True, False])
LAW = settings(max_examples=150)
rarely = st.sampled_from([False, False, False, True])


def either(
    small: st.SearchStrategy[Drawn], large: st.SearchStrategy[Drawn]
) -> st.SearchStrategy[Drawn]:
    return small_worlds.flatmap(lambda it: small if it else large)


def at_most(small: int, large: int, least: int = 0) -> st.SearchStrategy[int]:
    return either(st.integers(least, small), st.integers(least, large))


IDLE = st.just(Backlog(0))


def backlogs_up_to(most: int) -> st.SearchStrategy[Backlog]:
    some = st.builds(Backlog, *[st.integers(0, most)] * 6)
    return rarely.flatmap(lambda it: IDLE if it else some)


backlogs = either(backlogs_up_to(30), backlogs_up_to(200_000))


spans = st.integers(1, 86_400).map(seconds)
rate_limits = st.none() | st.one_of(
    st.builds(RateLimit, spans, st.integers(1, 10_000), st.none()),
    st.builds(RateLimit, spans, st.none(), st.integers(1, 1_000)),
)
down_limits = st.none() | st.one_of(
    st.builds(RateLimit, spans, st.integers(1, 10_000), st.none()),
    st.builds(RateLimit, spans, st.none(), st.integers(1, 100)),
)


NOTHING: st.SearchStrategy[None] = st.none()


def sometimes(strategy: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn | None]:
    return rarely.flatmap(lambda it: strategy if it else NOTHING)


def policies_up_to(
    most: int, backlog_per_replica: int, workers_per_replica: int, standby: int
) -> st.SearchStrategy[Policy]:
    floors = st.builds(
        Schedule,
        st.sampled_from(["0 * * * *", "30 11 * * *", "0 0 1 1 *"]),
        st.just(ZoneInfo("Europe/Berlin")),
        st.integers(1, 10_080).map(lambda minutes: timedelta(minutes=minutes)),
        st.integers(1, most),
    )

    def ordered(policy: Policy, low: int) -> Policy:
        """Bring what was drawn without regard to each other into the order it has to have."""
        high = max(low, policy.max_replicas)
        schedules = tuple(
            replace(floor, min_replicas=1 + (floor.min_replicas - 1) % high)
            for floor in policy.schedules
        )
        return replace(policy, min_replicas=low, max_replicas=high, schedules=schedules)

    drawn = st.builds(
        Policy,
        max_replicas=st.integers(1, most),
        backlog_per_replica=st.integers(1, backlog_per_replica),
        workers_per_replica=st.integers(1, workers_per_replica),
        stabilization=st.integers(0, 86_400).map(seconds),
        drain=sometimes(spans),
        max_wait=sometimes(spans),
        assumed_job=spans,
        standby=st.integers(0, standby),
        up_limit=sometimes(rate_limits),
        down_limit=sometimes(down_limits),
        only_up=rarely,
        schedules=st.lists(floors, max_size=2).map(tuple),
        fallback=st.none() | st.builds(Fallback, st.integers(0, 10_000), spans),
    )
    return st.builds(ordered, drawn, st.integers(0, most // 10))


policies = either(policies_up_to(60, 10, 4, 3), policies_up_to(10_000, 1_000_000, 256, 10_000))


def undemanding(policy: Policy) -> Policy:
    """Return it without what else would keep replicas: then a law stands or falls by one step."""
    return replace(
        policy,
        min_replicas=0,
        schedules=(),
        backlog_per_replica=1_000_000,
        drain=None,
        max_wait=None,
        standby=0,
        stabilization=timedelta(0),
        only_up=False,
    )


def samples(*, falling: bool) -> st.SearchStrategy[tuple[Sample, ...]]:
    def ordered(some: list[tuple[int, int]]) -> tuple[Sample, ...]:
        ages = sorted((age for age, _ in some), reverse=True)
        counts = sorted((count for _, count in some), reverse=falling)
        return tuple(
            Sample(NOW - seconds(age), count) for age, count in zip(ages, counts, strict=True)
        )

    both = st.tuples(st.integers(1, 90_000), at_most(60, 10_000))
    return st.lists(both, max_size=5, unique_by=(itemgetter(0), itemgetter(1))).map(ordered)


histories = st.builds(
    History,
    since=st.integers(0, 100_000).map(lambda age: NOW - seconds(age)),
    called=samples(falling=True),
    highs=samples(falling=True),
    lows=samples(falling=False),
)
"""Only what `decide` itself can have returned by `NOW`."""


replica_counts = at_most(60, 20_000)


paces = st.builds(
    Pace,
    st.none() | st.floats(0, 1e6),
    st.none() | st.floats(0.001, 1e5).map(seconds),
    st.none() | st.floats(0, 1e6).map(seconds),
)


rooms = st.builds(Places, at_most(60, 20_000), st.integers(1, 256))
refusals = st.builds(
    lambda taken, tried, cores: Places(taken + tried, cores, "a node is odd", tried),
    at_most(60, 20_000),
    st.integers(0, 4),
    st.integers(1, 256),
)
losses = st.none() | st.builds(
    lambda ago, jobs: Loss(NOW - seconds(ago), jobs),
    st.integers(0, 600),
    st.none() | st.integers(1, 10**6),
)


@st.composite
def worlds(draw: st.DrawFn) -> Observation:
    """Draw all that can be seen where no node turned a pod away."""
    return Observation(
        NOW,
        draw(replica_counts),
        draw(backlogs),
        draw(paces),
        draw(losses) if draw(rarely) else None,
        draw(st.none() | rooms),
    )


@LAW
@given(policies, paces, replica_counts, backlogs)
def test_any_pace_leads_within_bounds(
    policy: Policy, pace: Pace, replicas: int, backlog: Backlog
) -> None:
    decision = decide(Observation(NOW, replicas, backlog, pace), policy)

    assert policy.min_replicas <= decision.desired <= policy.max_replicas
    assert decision.demand is not None
    if backlog.jobs:
        assert decision.demand >= 1, "any job at all asks for a replica"


@LAW
@given(policies, spans, paces, backlogs)
def test_a_faster_queue_never_gets_fewer_replicas(
    policy: Policy, drain: timedelta, pace: Pace, backlog: Backlog
) -> None:
    """Arrivals twice as fast, jobs twice as long: never less demand."""
    policy = replace(policy, drain=drain)
    twice = replace(
        pace,
        arrivals_per_second=None if not pace.arrivals_per_second else pace.arrivals_per_second * 2,
        job=None if not pace.job else pace.job * 2,
    )
    slow = decide(Observation(NOW, 0, backlog, pace), policy)
    fast = decide(Observation(NOW, 0, backlog, twice), policy)

    assert (fast.demand or 0) >= (slow.demand or 0)


@LAW
@given(policies, st.just(NO_HISTORY) | histories, worlds())
def test_any_known_backlog_leads_within_bounds(
    policy: Policy, history: History, world: Observation
) -> None:
    decision = decide(world, policy, history)

    assert decision.desired <= policy.max_replicas
    assert decision.desired >= policy.min_replicas or decision.shortage
    assert decision.message


@LAW
@given(policies, histories, worlds(), rooms)
def test_no_more_is_asked_for_than_there_is_room_for_but_for_one_that_waits(
    policy: Policy, history: History, world: Observation, room: Places
) -> None:
    """And nobody is taken away for that."""
    wanted = decide(replace(world, places=None), policy, history)
    decision = decide(replace(world, places=room), policy, history)

    assert decision.desired == min(wanted.desired, max(room.total + 1, world.replicas))
    assert bool(decision.shortage) is (wanted.desired > room.total)
    assert decision.history == wanted.history, "nothing is forgotten for lack of room"


@LAW
@given(policies, histories, worlds(), refusals)
def test_after_a_rejection_no_more_is_asked_for_than_were_taken_in_and_may_be_tried(
    policy: Policy, history: History, world: Observation, places: Places
) -> None:
    wanted = decide(replace(world, places=None), policy, history)
    decision = decide(replace(world, places=places), policy, history)

    assert decision.desired == min(wanted.desired, places.total)
    assert bool(decision.shortage) is (wanted.desired > places.total - places.tried)


@LAW
@given(policies, histories, worlds(), rooms | refusals, st.integers(1, 100))
def test_more_room_never_gets_fewer_replicas(
    policy: Policy, history: History, world: Observation, places: Places, more: int
) -> None:
    narrow = decide(replace(world, places=places), policy, history)
    wide = replace(places, total=places.total + more)

    assert decide(replace(world, places=wide), policy, history).desired >= narrow.desired


@LAW
@given(policies, histories, worlds(), rooms | refusals, st.booleans())
def test_an_unknown_backlog_never_moves_the_workers(
    policy: Policy,
    history: History,
    world: Observation,
    places: Places,
    paused: bool,  # noqa: FBT001
) -> None:
    unknown = replace(world, backlog=None, places=places)

    decision = decide(unknown, replace(policy, paused=paused), history)

    assert decision.desired == world.replicas
    assert decision.demand is None


@LAW
@given(policies, replica_counts, st.integers(0, 100_000))
def test_a_queue_that_stays_unknown_only_ever_adds_the_fallback(
    policy: Policy, replicas: int, unread: int
) -> None:
    history = History(unread_since=NOW - seconds(unread))

    decision = decide(seen(None, replicas), policy, history)

    fallback = policy.fallback
    if fallback is None or seconds(unread) < fallback.after:
        assert decision.desired == replicas
    else:
        assert decision.desired == max(replicas, min(fallback.replicas, policy.max_replicas))
    assert decision.demand is None


@LAW
@given(policies, histories, worlds(), backlogs, backlogs)
def test_a_larger_backlog_never_gets_fewer_replicas(
    policy: Policy, history: History, world: Observation, some: Backlog, more: Backlog
) -> None:
    larger = Backlog(
        some.waiting + more.waiting,
        some.due + more.due,
        some.in_flight + more.in_flight,
        some.orphaned + more.orphaned,
    )

    small = decide(replace(world, backlog=some), policy, history)
    large = decide(replace(world, backlog=larger), policy, history)

    assert large.desired >= small.desired


@LAW
@given(
    policies | policies.map(lambda p: replace(undemanding(p), stabilization=p.stabilization)),
    histories,
    worlds(),
)
def test_nothing_shrinks_below_what_was_called_for_within_the_window(
    policy: Policy, history: History, world: Observation
) -> None:
    decision = decide(world, policy, history)

    within = [s.replicas for s in history.called if s.at > NOW - policy.stabilization]
    floor = min(max(within, default=0), world.replicas, policy.max_replicas)
    assert decision.desired >= floor


@LAW
@given(policies | policies.map(undemanding), histories, worlds())
def test_a_scale_in_leaves_a_worker_for_each_job_in_flight(
    policy: Policy, history: History, world: Observation
) -> None:
    assert world.backlog is not None
    desired = decide(world, policy, history).desired

    if desired < min(world.replicas, policy.max_replicas):
        assert desired * policy.workers_per_replica >= world.backlog.in_flight


@LAW
@given(policies, histories, st.integers(0, 60), worlds())
def test_a_constant_backlog_comes_to_rest(
    policy: Policy, history: History, replicas: int, world: Observation
) -> None:
    """In a few steps without limits of rate; with them, one step a period."""
    policy = replace(policy, min_replicas=0, max_replicas=50, schedules=())
    limits = [limit for limit in (policy.up_limit, policy.down_limit) if limit]
    pauses = [policy.stabilization, RATE_KNOWN_AFTER, LOSS_HOLD, *(it.period for it in limits)]
    at = NOW
    for _ in range(60 if limits else 3):
        decision = decide(replace(world, at=at, replicas=replicas), policy, history)
        replicas, history = decision.desired, decision.history
        at += max(pauses) + seconds(1)

    after = decide(replace(world, at=at, replicas=replicas), policy, history)

    assert after.desired == replicas
    assert len(after.history.called) == 1
    assert max(len(after.history.highs), len(after.history.lows)) <= 1


@LAW
@given(
    policies
    | policies.map(undemanding)
    | policies.map(lambda p: replace(p, backlog_per_replica=1, max_replicas=10_000)),
    rate_limits,
    down_limits,
    histories,
    replica_counts,
    backlogs,
)
def test_no_limit_of_rate_is_exceeded_but_for_a_floor_or_the_ceiling(
    policy: Policy,
    up: RateLimit | None,
    down: RateLimit | None,
    history: History,
    replicas: int,
    backlog: Backlog,
) -> None:
    policy = replace(policy, up_limit=up, down_limit=down)
    desired = decide(seen(backlog, replicas), policy, history).desired

    least = max([policy.min_replicas, *(s.min_replicas for s in policy.schedules)])
    if up and desired > max(replicas, least):
        lows = [s.replicas for s in history.lows if s.at > NOW - up.period]
        low = min([*lows, replicas])
        assert desired <= low + up.allowance(low)
    if down and desired < min(replicas, policy.max_replicas):
        highs = [s.replicas for s in history.highs if s.at > NOW - down.period]
        high = max([*highs, replicas])
        assert desired >= high - down.allowance(high)


@LAW
@given(policies, histories, worlds())
def test_a_pool_that_must_not_shrink_does_not_but_for_the_ceiling(
    policy: Policy, history: History, world: Observation
) -> None:
    desired = decide(world, replace(policy, only_up=True), history).desired

    assert desired >= min(world.replicas, policy.max_replicas)


@LAW
@given(policies, st.just(NO_HISTORY) | histories, worlds(), st.integers(0, 299))
def test_nobody_goes_while_lost_jobs_may_come_back(
    policy: Policy, history: History, world: Observation, ago: int
) -> None:
    lost = replace(world, loss=Loss(NOW - seconds(ago), None))

    assert seconds(ago) < LOSS_HOLD
    desired = decide(lost, policy, history).desired
    assert desired >= min(world.replicas, policy.max_replicas)


@LAW
@given(
    policies
    | st.builds(
        lambda policy, limit: replace(undemanding(policy), down_limit=limit),
        policies,
        down_limits,
    ),
    histories,
    replica_counts,
    st.lists(worlds(), min_size=1, max_size=7),
)
def test_a_restart_never_scales_in_sooner_than_no_restart(
    policy: Policy, history: History, replicas: int, readings: list[Observation]
) -> None:
    """Whatever came before, and however often it is decided upon afterwards.

    Of a loss it is told anew, and of the pace it knows as much.
    """
    if policy.down_limit:  # what decide() remembers holds what is there
        earlier = replace(readings[0], at=NOW - seconds(1), replicas=replicas)
        history = decide(earlier, policy, history).history
    going, restarted = replicas, replicas
    memory: History = history
    forgot: History = NO_HISTORY
    loss = readings[0].loss
    told = loss and (replace(loss, at=NOW, jobs=None) if NOW - loss.at < LOSS_HOLD else None)
    for number, world in enumerate(readings):
        at = NOW + number * policy.stabilization / 4
        one, other = replace(world, at=at, loss=loss), replace(world, at=at, loss=told)
        without = decide(replace(one, replicas=going), policy, memory)
        with_restart = decide(replace(other, replicas=restarted), policy, forgot)
        going, memory = without.desired, without.history
        restarted, forgot = with_restart.desired, with_restart.history
        assert restarted >= going


@LAW
@given(policies | policies.map(undemanding), replica_counts, st.lists(worlds(), max_size=4))
def test_nobody_goes_after_a_restart_before_the_past_and_the_rate_are_known(
    policy: Policy, replicas: int, readings: list[Observation]
) -> None:
    """Nothing has been learnt then, so drain time calls for less than before."""
    hold = max(policy.stabilization, RATE_KNOWN_AFTER if policy.drain else timedelta())
    assume(hold)
    history: History = NO_HISTORY
    kept = min(replicas, policy.max_replicas)
    for number, world in enumerate(readings):
        at = NOW + number * hold / len(readings)
        seen_then = replace(world, at=at, replicas=replicas, pace=Pace())
        decision = decide(seen_then, policy, history)
        replicas, history = decision.desired, decision.history
        assert replicas >= kept


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2_000)), min_size=1, max_size=300),
    st.integers(0, 3_600),
)
def test_the_history_is_bounded_ordered_and_never_forgets_the_windows_peak(
    readings: list[tuple[int, int]], window: int
) -> None:
    policy = Policy(max_replicas=2_000, backlog_per_replica=1, stabilization=seconds(window))
    at = NOW
    history: History = NO_HISTORY
    wanted: list[Sample] = []
    for pause, waiting in readings:
        at += seconds(pause)
        history = decide(Observation(at, 0, Backlog(waiting)), policy, history).history
        wanted.append(Sample(at, waiting))

        peaks = [s.replicas for s in history.called]
        assert len(history.called) <= LIMIT
        assert peaks == sorted(set(peaks), reverse=True)
        assert [s.at for s in history.called] == sorted(s.at for s in history.called)
        peak = max((s.replicas for s in wanted if s.at > at - policy.stabilization), default=0)
        assert max(peaks) >= peak


def test_more_samples_than_the_limit_merge_into_later_and_larger_ones() -> None:
    """A steady decline for longer than the limit: the merged sample lives longer, not shorter."""
    policy = Policy(max_replicas=1_000, backlog_per_replica=1, stabilization=seconds(3_600))
    history: History = NO_HISTORY
    for number in range(LIMIT + 10):
        at = NOW + seconds(number)
        history = decide(Observation(at, 0, Backlog(500 - number)), policy, history).history

    assert len(history.called) == LIMIT
    assert history.called[0] == Sample(NOW + seconds(10), 500)


@LAW
@given(
    st.builds(lambda policy, paused: replace(policy, paused=paused), policies, rarely),
    st.lists(
        st.tuples(
            worlds() | st.builds(replace, worlds(), backlog=st.none(), places=refusals),
            st.integers(-10, 100_000),  # a clock may be set back
        ),
        max_size=5,
    ),
)
def test_no_valid_input_raises(policy: Policy, readings: list[tuple[Observation, int]]) -> None:
    history: History = NO_HISTORY
    at = NOW
    for world, passed in readings:
        at += seconds(passed)
        decision = decide(replace(world, at=at), policy, history)
        history = decision.history
        assert decision.desired >= 0
        assert isinstance(decision, Decision)
        assert isinstance(decision.reason, Reason)
