"""How long a queue is left alone that does not answer, on a clock that the test turns."""

from datetime import timedelta
from typing import cast

import pytest

from image_worker.errors import QueueUnavailable
from image_worker.lane import REST_PER_SECOND, REST_SECONDS, Lane, Owed
from image_worker.leases import Leases

SILENCE = 5.0


class Queue:
    """A queue that answers, or takes its time not to."""

    queue = "queue:images"

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.fails_after: float | None = None

    def answer(self, _: Leases) -> str:
        self.asked += 1
        if self.fails_after is not None:
            self.now += self.fails_after
            raise QueueUnavailable("Timeout", "nothing came")
        return "answer"


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def lane(queue: Queue) -> Lane:
    return Lane(cast("Leases", queue), 1, lambda: queue.now)


def failed(lane: Lane, queue: Queue) -> timedelta | None:
    with pytest.raises(QueueUnavailable):
        lane.ask(queue.answer)
    return lane.rest


def test_one_that_was_silent_is_not_asked_until_its_rest_is_over(lane: Lane, queue: Queue) -> None:
    queue.fails_after = SILENCE
    rest = failed(lane, queue)
    assert rest == timedelta(seconds=REST_SECONDS)
    failed(lane, queue)
    assert queue.asked == 1, "it failed at once, unasked"
    queue.now += REST_SECONDS
    queue.fails_after = None
    assert lane.ask(queue.answer) == "answer"
    assert (lane.trouble, lane.rest) == (None, None)


def test_in_the_long_run_silences_take_a_fifth_of_the_time(lane: Lane, queue: Queue) -> None:
    queue.fails_after = SILENCE
    rests = []
    for _ in range(100):
        rest = failed(lane, queue)
        assert rest is not None
        rests.append(rest.total_seconds())
        queue.now += rests[-1]
    assert rests[:4] == pytest.approx([0.5, 1, 2, 4])
    assert rests[-1] == pytest.approx(REST_SECONDS + REST_PER_SECOND * SILENCE)
    assert queue.asked * SILENCE < queue.now / 4.5


def test_one_that_fails_at_once_is_soon_asked_again_however_often(
    lane: Lane, queue: Queue
) -> None:
    queue.fails_after = 0.0
    for _ in range(2000):
        assert failed(lane, queue) == timedelta(seconds=REST_SECONDS)
        queue.now += REST_SECONDS


def test_what_is_owed_stays_until_it_is_heard(lane: Lane, queue: Queue) -> None:
    lane.owed = Owed("w-0", queue.answer)
    queue.fails_after = 0.0
    with pytest.raises(QueueUnavailable):
        lane.pay()
    assert lane.owed is not None
    queue.fails_after = None
    lane.wake()
    lane.pay()
    assert lane.owed is None
    lane.pay()
    assert queue.asked == 2, "and is told once"


def test_what_can_never_be_told_is_not_tried_for_ever(lane: Lane) -> None:
    def defect(_: Leases) -> object:
        raise ValueError("a defect")

    lane.owed = Owed("w-0", defect)
    with pytest.raises(ValueError, match="a defect"):
        lane.pay()
    assert lane.owed is None
