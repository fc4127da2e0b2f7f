"""Writes: one slot, latest wins, the important first; on a virtual clock."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field

import pytest

from workerpool_operator.errors import ApplyFailed, Forbidden, NotFound, Throttled
from workerpool_operator.writer import RETRY_SECONDS, Priority, Writer

pytestmark = pytest.mark.looptime

SLOT = ("images", "scale")


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Desk:
    """Makes writes that can be told to fail or to take their time, and keeps what was done."""

    done: list[tuple[float, str]] = field(default_factory=list)
    failures: list[tuple[Hashable, ApplyFailed]] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def failed(self, slot: Hashable, error: ApplyFailed) -> None:
        self.failures.append((slot, error))

    def write(
        self, name: str, *, seconds: float = 0.0, errors: list[Exception] | None = None
    ) -> Callable[[], "asyncio.Future[None]"]:
        """Return a write that takes `seconds` and raises one of `errors` after the other."""
        left = list(errors or ())

        async def perform() -> None:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await asyncio.sleep(seconds)
                self.done.append((round(now(), 3), name))
                if left:
                    raise left.pop(0)
            finally:
                self.under_way -= 1

        return lambda: asyncio.ensure_future(perform())

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.done]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    for made in desk.writers:
        await made.close()


def writer(desk: Desk, limit: int = 16) -> Writer:
    made = Writer(limit=limit, failed=desk.failed)
    desk.writers.append(made)
    return made


async def test_a_write_is_performed_at_once(desk: Desk) -> None:
    writer(desk).submit(SLOT, Priority.UP, desk.write("a"))
    await asyncio.sleep(1)

    assert desk.done == [(0, "a")]


async def test_the_latest_write_takes_the_place_of_those_that_wait(desk: Desk) -> None:
    many = writer(desk, limit=1)
    many.submit("other", Priority.UP, desk.write("other", seconds=1))
    for name in ("first", "second", "third"):
        many.submit(SLOT, Priority.UP, desk.write(name))
    await asyncio.sleep(5)

    assert desk.names == ["other", "third"]


async def test_writes_of_one_slot_never_overlap(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("first", seconds=2))
    await asyncio.sleep(1)
    for name in ("second", "third"):
        one.submit(SLOT, Priority.WAKE, desk.write(name, seconds=1))
    await asyncio.sleep(5)

    assert desk.done == [(2, "first"), (3, "third")]
    assert desk.most_under_way == 1


async def test_the_important_goes_first_and_equals_in_their_order(desk: Desk) -> None:
    busy = writer(desk, limit=1)
    busy.submit("busy", Priority.REPORT, desk.write("busy", seconds=1))
    await asyncio.sleep(0.5)
    for priority in (
        Priority.REPORT,
        Priority.DOWN,
        Priority.WORKLOAD,
        Priority.UP,
        Priority.WAKE,
    ):
        for turn in (1, 2):
            name = f"{priority.name} {turn}"
            busy.submit(name, priority, desk.write(name))
    await asyncio.sleep(5)

    assert desk.names[1:] == [
        f"{kind} {turn}"
        for kind in ("WAKE", "UP", "WORKLOAD", "DOWN", "REPORT")
        for turn in (1, 2)
    ]


async def test_a_waiting_write_takes_the_priority_of_what_replaces_it(desk: Desk) -> None:
    busy = writer(desk, limit=1)
    busy.submit("busy", Priority.UP, desk.write("busy", seconds=1))
    busy.submit(SLOT, Priority.DOWN, desk.write("down"))
    busy.submit("workload", Priority.WORKLOAD, desk.write("workload"))
    busy.submit(SLOT, Priority.WAKE, desk.write("wake"))
    await asyncio.sleep(5)

    assert desk.names == ["busy", "wake", "workload"]


async def test_no_more_than_the_limit_are_under_way(desk: Desk) -> None:
    few = writer(desk, limit=3)
    for number in range(10):
        few.submit(number, Priority.UP, desk.write(str(number), seconds=1))
    await asyncio.sleep(20)

    assert desk.most_under_way == 3
    assert [at for at, _ in desk.done] == [1] * 3 + [2] * 3 + [3] * 3 + [4]


async def test_what_fails_is_told_and_tried_again_later_and_later(desk: Desk) -> None:
    errors: list[Exception] = [ApplyFailed(f"failure {n}") for n in range(12)]
    writer(desk).submit(SLOT, Priority.UP, desk.write("a", errors=errors))
    await asyncio.sleep(600)

    assert [(slot, str(error)) for slot, error in desk.failures] == [
        (SLOT, f"failure {n}") for n in range(12)
    ]
    times = [at for at, _ in desk.done]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    first, longest = RETRY_SECONDS
    assert len(times) == 13, "it ends with the first success"
    for attempt, pause in enumerate(pauses, start=1):
        assert first - 0.001 <= pause <= min(longest, first * 2**attempt) + 0.001


async def test_a_success_starts_the_delays_anew(desk: Desk) -> None:
    one = writer(desk)
    for _ in range(3):
        one.submit(SLOT, Priority.UP, desk.write("a", errors=[ApplyFailed("x")]))
        start = now()
        await asyncio.sleep(10)
        assert desk.done[-1][0] - start <= RETRY_SECONDS[0] * 2 + 0.001


async def test_a_newer_write_goes_at_once_where_another_failed(desk: Desk) -> None:
    """It may well be the remedy."""
    one = writer(desk)
    forbidden: list[Exception] = [Forbidden("x")] * 6
    one.submit(SLOT, Priority.UP, desk.write("old", errors=forbidden))
    await asyncio.sleep(2.5)
    desk.done.clear()
    submitted = now()
    one.submit(SLOT, Priority.UP, desk.write("new"))
    await asyncio.sleep(60)

    assert desk.done == [(submitted, "new")]


async def test_a_throttling_server_is_left_alone_for_as_long_as_it_asks(desk: Desk) -> None:
    one = writer(desk)
    busy: list[Exception] = [Throttled("busy", retry_after=7), Throttled("busy", retry_after=3)]
    one.submit(SLOT, Priority.UP, desk.write("a", errors=busy))
    await asyncio.sleep(60)

    first, second, third = (at for at, _ in desk.done)
    assert first == 0
    assert 7 <= second <= 7.5
    assert second + 3 <= third <= second + 3.5


async def test_a_newer_write_waits_where_the_server_asked_for_patience(desk: Desk) -> None:
    """Decisions come with every tick; each one would be another request otherwise."""
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("old", errors=[Throttled("busy", retry_after=10)]))
    for number in range(8):
        await asyncio.sleep(1)
        one.submit(SLOT, Priority.WAKE, desk.write(f"new {number}"))
    await asyncio.sleep(20)

    assert desk.names == ["old", "new 7"]
    assert 10 <= desk.done[1][0] <= 10.5


async def test_patience_holds_for_what_came_while_the_answer_was_on_its_way(desk: Desk) -> None:
    one = writer(desk)
    throttled = desk.write("old", seconds=2, errors=[Throttled("busy", retry_after=10)])
    one.submit(SLOT, Priority.UP, throttled)
    await asyncio.sleep(1)
    one.submit(SLOT, Priority.UP, desk.write("new"))
    await asyncio.sleep(20)

    assert desk.names == ["old", "new"]
    assert 12 <= desk.done[1][0] <= 12.5


async def test_a_write_to_what_is_gone_is_told_and_not_tried_again(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", errors=[NotFound("gone")]))
    await asyncio.sleep(600)

    assert desk.names == ["a"]
    assert [type(error) for _, error in desk.failures] == [NotFound]


async def test_a_defect_in_one_write_does_not_stop_the_others(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    one = writer(desk, limit=1)
    with caplog.at_level(logging.ERROR):
        one.submit("broken", Priority.WAKE, desk.write("broken", errors=[KeyError("spec")]))
        one.submit("fine", Priority.UP, desk.write("fine"))
        await asyncio.sleep(60)

    assert desk.names == ["broken", "fine", "broken"], "and it is tried again, too"
    assert "a write failed unexpectedly" in caplog.text
    assert [slot for slot, _ in desk.failures] == ["broken"], "whoever waits for it must know"


async def test_what_is_discarded_before_its_turn_is_never_performed(desk: Desk) -> None:
    busy = writer(desk, limit=1)
    busy.submit("busy", Priority.UP, desk.write("busy", seconds=1))
    busy.submit(SLOT, Priority.UP, desk.write("a"))
    busy.discard(SLOT)
    busy.discard("never submitted")
    await asyncio.sleep(5)

    assert desk.names == ["busy"]


async def test_what_is_discarded_between_two_attempts_is_not_tried_again(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", errors=[ApplyFailed("x")]))
    await asyncio.sleep(0.05)
    one.discard(SLOT)
    await asyncio.sleep(600)

    assert desk.names == ["a"]


async def test_what_is_discarded_under_way_is_finished_but_not_tried_again(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", seconds=2, errors=[ApplyFailed("x")]))
    await asyncio.sleep(1)
    one.discard(SLOT)
    await asyncio.sleep(600)

    assert desk.done == [(2, "a")]


async def test_a_slot_is_as_good_as_new_after_a_discard(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", seconds=2))
    await asyncio.sleep(1)
    one.discard(SLOT)
    one.submit(SLOT, Priority.UP, desk.write("b", errors=[ApplyFailed("x")]))
    await asyncio.sleep(600)

    assert desk.names == ["a", "b", "b"]
    assert desk.most_under_way == 1


async def test_it_says_for_how_long_the_slowest_write_is_under_way(desk: Desk) -> None:
    one = writer(desk, limit=2)
    before = one.slowest_seconds()
    one.submit("slow", Priority.UP, desk.write("slow", seconds=100))
    await asyncio.sleep(30)
    for number in range(40):
        one.submit(number, Priority.UP, desk.write(str(number), seconds=1))
    await asyncio.sleep(20)

    assert before == 0
    assert one.slowest_seconds() == 50

    await asyncio.sleep(60)
    assert one.slowest_seconds() == 0


async def test_waiting_for_a_retry_is_not_being_stuck(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", errors=[Throttled("busy", retry_after=300)]))
    await asyncio.sleep(200)

    assert one.slowest_seconds() == 0


async def test_closing_finishes_what_is_under_way_and_starts_nothing(desk: Desk) -> None:
    one = writer(desk, limit=1)
    one.submit("under way", Priority.UP, desk.write("under way", seconds=2))
    one.submit("waits", Priority.WAKE, desk.write("waits"))
    await asyncio.sleep(1)
    await one.close()
    closed_at = now()
    one.submit("late", Priority.WAKE, desk.write("late"))
    await asyncio.sleep(600)

    assert closed_at == 2
    assert desk.names == ["under way"]


async def test_closing_ends_the_retries(desk: Desk) -> None:
    one = writer(desk)
    one.submit(SLOT, Priority.UP, desk.write("a", errors=[ApplyFailed("x")]))
    await asyncio.sleep(0.05)
    await one.close()
    await asyncio.sleep(600)

    assert desk.names == ["a"]
