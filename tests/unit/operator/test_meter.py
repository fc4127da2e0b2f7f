"""What pools cost."""

import pytest

from support.workerpools import stored
from workerpool_operator.meter import Meter
from workerpool_operator.resource import Key, parse

IMAGES, VIDEOS = Key("shop", "images"), Key("shop", "videos")


def test_a_pool_is_charged_for_what_it_had_for_as_long_as_it_had_it() -> None:
    meter = Meter()
    meter.set(IMAGES, 100.0, workers=4, cores=8.0)
    meter.set(IMAGES, 110.0, workers=1, cores=2.0)

    used = meter.read(IMAGES, 130.0)

    assert (used.worker_seconds, used.core_seconds) == (4 * 10 + 1 * 20, 8 * 10 + 2 * 20)


def test_reading_the_meter_does_not_move_it() -> None:
    meter = Meter()
    meter.set(IMAGES, 0.0, workers=2, cores=2.0)

    assert [meter.read(IMAGES, at).worker_seconds for at in (5.0, 5.0, 10.0)] == [10, 10, 20]


def test_saying_the_same_again_and_again_costs_nothing_more() -> None:
    meter = Meter()
    for at in range(11):
        meter.set(IMAGES, float(at), workers=3, cores=0.75)

    assert meter.read(IMAGES, 10.0).worker_seconds == 30
    assert meter.read(IMAGES, 10.0).core_seconds == 7.5


def test_a_clock_that_stands_still_or_goes_back_takes_nothing_back() -> None:
    meter = Meter()
    meter.set(IMAGES, 10.0, workers=1, cores=1.0)

    assert meter.read(IMAGES, 9.0).worker_seconds == 0


def test_each_pool_has_an_account_of_its_own_until_it_is_forgotten() -> None:
    meter = Meter()
    meter.set(IMAGES, 0.0, workers=1, cores=1.0)
    meter.set(VIDEOS, 0.0, workers=5, cores=5.0)
    meter.drop(IMAGES)

    assert meter.read(IMAGES, 10.0).worker_seconds == 0
    assert meter.read(VIDEOS, 10.0).worker_seconds == 50


@pytest.mark.parametrize(
    ("cpu", "cores"),
    [
        ({"policy": "Exclusive"}, 1.0),
        ({"policy": "Exclusive", "cores": 4}, 4.0),
        ({"policy": "Shared", "request": "250m"}, 0.25),
        ({"policy": "Shared", "request": "1.5"}, 1.5),
        ({"policy": "Shared", "request": "2"}, 2.0),
    ],
)
def test_a_pod_costs_the_cores_it_asks_for(cpu: dict[str, object], cores: float) -> None:
    assert parse(stored({"spec.cpu": cpu})).cpu.requested == cores
