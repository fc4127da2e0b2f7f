"""The operator's way down, in a fleet: only idle pods go."""

import workerpool_operator.closing as operators
import workerpool_simulator.retirement as modelled
from workerpool_simulator.fleet import Fleet
from workerpool_simulator.retirement import Retirement
from workerpool_simulator.trace import Job


def fleet_of(pods: int) -> Fleet:
    fleet = Fleet(start_seconds=0.0, grace_seconds=130.0)
    fleet.scale(pods)
    fleet.advance(0.0)
    return fleet


def work(fleet: Fleet, *seconds: float) -> None:
    """Give one job each to the workers that are idle longest."""
    for duration in seconds:
        fleet.push(Job(fleet.now, duration))


def step(retirement: Retirement, fleet: Fleet, at: float, desired: int) -> int:
    """Decide upon `desired` at `at`; returns the replicas from then on."""
    fleet.advance(at)
    fleet.scale(retirement.allow(desired, fleet))
    return fleet.replicas


def test_the_steps_take_as_long_as_the_operators() -> None:
    assert modelled.SEEN_SECONDS == operators.SEEN_SECONDS
    assert modelled.PATIENCE_SECONDS == operators.PATIENCE_SECONDS


def test_idle_pods_are_closed_and_go_when_their_price_is_known() -> None:
    retirement, fleet = Retirement(), fleet_of(3)

    assert step(retirement, fleet, 10.0, 1) == 3
    assert sum(pod.closed for pod in fleet.pods.values()) == 2
    assert step(retirement, fleet, 10.25, 1) == 1
    assert not any(pod.closed for pod in fleet.pods.values())


def test_those_that_are_idle_longest_go_and_the_busy_stay_however_new() -> None:
    retirement, fleet = Retirement(), fleet_of(3)
    work(fleet, 1.0, 2.0, 60.0)  # pods 0, 1 and 2, the newest

    step(retirement, fleet, 10.0, 2)
    step(retirement, fleet, 10.25, 2)

    assert list(fleet.pods) == [1, 2]
    assert fleet.killed == 0


def test_as_many_go_as_are_idle_and_the_rest_as_it_becomes_idle() -> None:
    retirement, fleet = Retirement(), fleet_of(3)
    work(fleet, 60.0, 11.0)

    assert step(retirement, fleet, 10.0, 0) == 3
    assert step(retirement, fleet, 10.25, 0) == 2
    assert step(retirement, fleet, 10.5, 0) == 2, "nobody is idle"
    assert step(retirement, fleet, 11.25, 0) == 2
    assert not any(pod.closed for pod in fleet.pods.values()), "looked at again after a second"
    assert step(retirement, fleet, 11.5, 0) == 2
    assert step(retirement, fleet, 11.75, 0) == 1
    assert (fleet.killed, fleet.in_flight) == (0, 1)


def test_load_that_returns_calls_closed_pods_back() -> None:
    retirement, fleet = Retirement(), fleet_of(2)
    step(retirement, fleet, 10.0, 0)
    work(fleet, 5.0)
    assert fleet.in_flight == 0

    assert step(retirement, fleet, 10.25, 2) == 2
    assert fleet.in_flight == 1


def test_a_smaller_fall_than_was_prepared_takes_no_more_than_it_says() -> None:
    retirement, fleet = Retirement(), fleet_of(4)
    step(retirement, fleet, 10.0, 0)

    assert step(retirement, fleet, 10.25, 3) == 4
    assert sum(pod.closed for pod in fleet.pods.values()) == 1
    assert step(retirement, fleet, 10.5, 3) == 3


def test_pods_that_have_not_started_are_the_first_to_go() -> None:
    retirement, fleet = Retirement(), fleet_of(1)
    fleet.start_seconds = 5.0
    fleet.scale(3)

    step(retirement, fleet, 1.0, 1)
    step(retirement, fleet, 1.25, 1)

    assert list(fleet.pods) == [0]
