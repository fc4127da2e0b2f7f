"""A fleet does what pods do."""

import pytest

from workerpool_simulator.fleet import Fleet
from workerpool_simulator.trace import Job


def started(pods: int, *, grace: float = 30.0, workers: int = 1) -> Fleet:
    """Return a fleet whose pods are ready."""
    fleet = Fleet(start_seconds=0.0, grace_seconds=grace, workers_per_pod=workers)
    fleet.scale(pods)
    fleet.advance(0.0)
    return fleet


def test_a_pod_works_as_soon_as_it_has_started() -> None:
    fleet = Fleet(start_seconds=2.0, grace_seconds=30.0)
    fleet.push(Job(0.0, 1.0))
    fleet.scale(1)

    fleet.advance(1.9)
    assert (fleet.ready, fleet.in_flight) == (0, 0)
    fleet.advance(2.0)
    assert (fleet.ready, fleet.in_flight) == (1, 1)
    assert fleet.waits == [2.0]


def test_the_worker_that_is_idle_longest_gets_the_next_job() -> None:
    fleet = started(2)
    fleet.push(Job(0.0, 3.0))
    fleet.push(Job(0.0, 1.0))
    fleet.advance(4.0)

    fleet.push(Job(4.0, 9.0))

    assert [bool(pod.busy) for pod in fleet.pods.values()] == [False, True]


def test_the_workers_of_a_pod_work_side_by_side_and_cost_as_many() -> None:
    fleet = started(1, workers=2)
    for _ in range(3):
        fleet.push(Job(0.0, 10.0))
    assert (fleet.in_flight, len(fleet.queue)) == (2, 1)

    fleet.advance(20.0)
    fleet.scale(0)

    assert fleet.done == 3
    assert fleet.worker_seconds == pytest.approx(2 * 20.0)


def test_a_pod_that_is_taken_away_finishes_within_its_grace() -> None:
    fleet = started(1)
    fleet.push(Job(0.0, 20.0))
    fleet.advance(1.0)
    fleet.scale(0)
    fleet.push(Job(1.0, 1.0))

    fleet.advance(25.0)

    assert (fleet.done, fleet.killed, len(fleet.pods)) == (1, 0, 0)
    assert len(fleet.queue) == 1, "who is leaving takes no job"
    assert fleet.worker_seconds == pytest.approx(20.0)


def test_a_job_longer_than_the_grace_is_killed_and_first_in_line_again() -> None:
    fleet = started(1)
    long, short = Job(0.0, 40.0), Job(0.0, 1.0)
    fleet.push(long)
    fleet.push(short)
    fleet.advance(1.0)
    fleet.scale(0)

    fleet.advance(30.9)
    assert (fleet.killed, fleet.in_flight) == (0, 1)
    fleet.advance(31.0)

    assert (fleet.killed, fleet.in_flight) == (1, 0)
    assert list(fleet.queue) == [long, short]
    assert fleet.worker_seconds == pytest.approx(31.0)


def test_those_not_started_go_first_then_the_cheapest_then_the_newest() -> None:
    fleet = started(2)  # 0 and 1
    fleet.start_seconds = 5.0
    fleet.advance(1.0)
    fleet.scale(3)
    fleet.advance(6.0)
    fleet.scale(4)  # 3 has not started
    fleet.price({0: -1})

    gone: list[int] = []
    for replicas in (3, 2, 1, 0):
        before = set(fleet.pods)
        fleet.scale(replicas)
        gone += before - set(fleet.pods)

    assert gone == [3, 0, 2, 1]


def test_a_closed_pod_gets_no_job_until_it_is_called_back() -> None:
    fleet = started(1)
    fleet.close({0})
    fleet.push(Job(0.0, 1.0))
    assert fleet.in_flight == 0

    fleet.close(())

    assert fleet.in_flight == 1
