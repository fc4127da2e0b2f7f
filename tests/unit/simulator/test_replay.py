"""A policy sees what it would see, and the account is right."""

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool_operator.model import Policy, Schedule
from workerpool_simulator.advice import JobsLeft, advise
from workerpool_simulator.fleet import Fleet
from workerpool_simulator.policies import Keda, Knative, Workerpool, candidates
from workerpool_simulator.replay import LINGER_SECONDS, PATIENCE_SECONDS, replay
from workerpool_simulator.trace import Job, Trace


@dataclass
class Constant:
    """Asks for one count while there is work."""

    count: int
    name: str = "constant"
    interval: float = 1.0
    grace_seconds: float = 30.0
    told: bool = False
    low: int = 0

    def replicas(self, fleet: Fleet) -> int:
        return self.count if fleet.queue or fleet.in_flight or fleet.done == 0 else 0


def batch(count: int, seconds: float, at: float = 0.0) -> Trace:
    return Trace("batch", tuple(Job(at, seconds) for _ in range(count)))


def test_two_workers_take_half_the_time_and_cost_what_they_stood() -> None:
    outcome = replay(batch(10, 2.0), Constant(2), start_seconds=1.0)
    assert outcome.max_wait == pytest.approx(9.0)
    assert outcome.worker_hours * 3600 == pytest.approx(2 * 11, abs=2.5)
    assert outcome.scalings == 2


@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0.05, 20)), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_every_policy_finishes_every_job_once(jobs: list[tuple[float, float]], which: int) -> None:
    trace = Trace("any", tuple(sorted((Job(*job) for job in jobs), key=lambda job: job.at)))
    policy = Policy(max_replicas=5, drain=timedelta(seconds=20))
    outcome = replay(trace, candidates(policy, 10)[which]())
    work = sum(job.seconds for job in trace.jobs)
    assert outcome.done == len(jobs)
    assert outcome.worker_hours * 3600 >= work * 0.999
    assert 0 <= outcome.p50_wait <= outcome.p95_wait <= outcome.max_wait
    assert max(point.replicas for point in outcome.points) <= 5


@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0.05, 200)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 120),
)
def test_the_operator_kills_no_job_however_long(
    jobs: list[tuple[float, float]], workers: int, window: int
) -> None:
    trace = Trace("any", tuple(sorted((Job(*job) for job in jobs), key=lambda job: job.at)))
    policy = Policy(
        max_replicas=9,
        drain=timedelta(seconds=20),
        workers_per_replica=workers,
        stabilization=timedelta(seconds=window),
    )

    outcome = replay(trace, Workerpool(policy), workers_per_pod=workers)

    assert (outcome.done, outcome.killed_jobs) == (len(jobs), 0)


def test_pods_that_always_stay_are_counted_no_longer_than_the_work_lasts() -> None:
    policy = Policy(min_replicas=2, max_replicas=2)
    for make in candidates(policy, 10):
        outcome = replay(batch(3, 10.0, at=100.0), make())

        assert outcome.worker_hours * 3600 == pytest.approx(2 * 120, abs=80), outcome.policy


def test_a_floor_of_the_calendar_is_not_waited_for() -> None:
    """The jobs are done within a minute; the schedule keeps two pods all day."""
    all_day = Schedule("0 0 * * *", ZoneInfo("UTC"), timedelta(hours=24), 2)
    policy = Policy(max_replicas=2, schedules=(all_day,))

    outcome = replay(batch(3, 10.0), Workerpool(policy))

    assert outcome.worker_hours * 3600 == pytest.approx(2 * (LINGER_SECONDS + 20), abs=60)


def test_jobs_that_are_never_started_wait_until_the_end() -> None:
    """Two jobs of ten are done within the day: each of them takes ten hours."""
    outcome = replay(batch(10, 36_000.0), Constant(1), start_seconds=0.0)

    assert (outcome.jobs, outcome.done, outcome.undone) == (10, 2, 8)
    assert outcome.p50_wait == outcome.p95_wait == outcome.max_wait
    assert outcome.max_wait == pytest.approx(PATIENCE_SECONDS, abs=1)


def test_a_percentile_is_the_wait_that_so_many_do_not_exceed() -> None:
    """One pod and twenty jobs of a second: ten wait up to 9 s, nineteen up to 18 s."""
    outcome = replay(batch(20, 1.0), Constant(1), start_seconds=0.0)

    assert (outcome.p50_wait, outcome.p95_wait, outcome.max_wait) == pytest.approx((9, 18, 19))


def test_the_operator_starts_all_it_needs_at_the_moment_of_the_push() -> None:
    policy = Policy(max_replicas=40, backlog_per_replica=5)
    outcome = replay(batch(200, 1.0, at=100.1), Workerpool(policy), start_seconds=2.0)
    first = next(point for point in outcome.points if point.replicas)
    assert first.at == pytest.approx(100.1)
    assert first.replicas == 40


def test_keda_sees_a_push_at_its_next_poll_and_ramps_in_steps_of_fifteen_seconds() -> None:
    outcome = replay(batch(2_000, 20.0, at=61.0), Keda(5, 0, 40), start_seconds=2.0)
    moments = {point.replicas: point.at for point in reversed(outcome.points) if point.at < 200}
    moments.pop(0)

    assert list(reversed(moments)) == [1, 4, 8, 16, 32, 40], "as measured on a cluster"
    assert moments[1] == pytest.approx(90, abs=1.5), "polled every 30 s"
    assert moments[40] - moments[1] == pytest.approx(60, abs=1.5), "four times 15 s"


def test_an_hpa_without_behavior_goes_on_to_the_highest_count_it_called_for() -> None:
    """39 of forty jobs wait at its first look; they are done before as many pods are allowed."""
    outcome = replay(batch(40, 1.0, at=61.0), Keda(1, 0, 40), start_seconds=0.5)

    assert max(point.replicas for point in outcome.points) == 39


def test_the_hpa_counts_the_list_alone_and_leaves_running_jobs_without_their_pods() -> None:
    """Ten long jobs run, one waits: ⌈1 ÷ 1⌉ is one pod (kedacore/keda#1222)."""
    keda = Keda(1, 0, 40, polling_interval=1, cooldown=60, down_window=0, limited_up=False)
    trace = Trace("long", tuple(Job(0.5, 100.0) for _ in range(10)))
    assert replay(trace, keda).killed_jobs > 0


def test_knative_panics_at_a_burst() -> None:
    outcome = replay(batch(400, 1.0, at=50.0), Knative(10, 0, 40), start_seconds=2.0)
    assert max(p.replicas for p in outcome.points if p.at < 62) == 40


def test_advice_is_the_cheapest_that_keeps_the_promise() -> None:
    trace = Trace("two", tuple(Job(at, 1.0) for at in [10.0] * 50 + [100.0] * 50))
    policy = Policy(max_replicas=40)
    relaxed, strict = advise(trace, policy, 60, 2), advise(trace, policy, 8, 2)
    assert relaxed is not None
    assert strict is not None
    assert relaxed.outcome.worker_hours <= strict.outcome.worker_hours
    assert strict.outcome.p95_wait <= 8
    assert advise(trace, policy, 0.1, 2) is None


def test_a_pool_that_cannot_do_all_jobs_gets_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pod has ten minutes for the two of them, and needs more."""
    monkeypatch.setattr("workerpool_simulator.replay.PATIENCE_SECONDS", 600.0)
    with pytest.raises(JobsLeft, match=r"^1 of 2 .* maxReplicas 1 is too few for them: raise it"):
        advise(batch(2, 400.0), Policy(max_replicas=1), 1e6, 2)
