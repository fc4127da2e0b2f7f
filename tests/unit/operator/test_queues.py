"""The reader of one endpoint's queues: when it reads, and what it tells; on a virtual clock."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from support.fake_connection import FakeRedis
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import ApplyFailed, Forbidden, NotFound, Unreadable
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import PIPELINE_QUEUES, QueueReader, Timing
from workerpool_operator.resource import Endpoint, Key

# Nothing comes from outside, so the clock need not wait for it before it moves.
pytestmark = pytest.mark.looptime(noop_cycles=0)

QUEUE = "queue:images"
OTHER = "queue:films"
TIMING = Timing(tick=0.25, safety_poll=30.0, timeout=5.0)
LATENCY = 0.001


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


@dataclass
class Ears:
    """Listens to a reader; `moving` are the queues it says are moving."""

    moving: set[str] = field(default_factory=set)
    heard: list[tuple[float, str, Backlog | Unreadable, float | None]] = field(
        default_factory=list
    )
    surveys: list[tuple[float, str, Survey | Unreadable]] = field(default_factory=list)

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        self.heard.append((now(), queue, reading, told))
        return queue in self.moving

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        self.surveys.append((now(), queue, survey))

    def times(self, queue: str = QUEUE) -> list[float]:
        return [at for at, name, _, _ in self.heard if name == queue]

    def readings(self, queue: str = QUEUE) -> list[Backlog | Unreadable]:
        return [reading for _, name, reading, _ in self.heard if name == queue]

    def troubles(self) -> list[tuple[float, str]]:
        return [(at, r.reason) for at, _, r, _ in self.heard if isinstance(r, Unreadable)]


class Forgetful(Ears):
    """Has a queue forgotten while others are read."""

    def __init__(self, forget: str) -> None:
        super().__init__()
        self.forget = forget
        self.reader: QueueReader | None = None

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        if self.reader is not None:
            self.reader.discard(self.forget)
        return super().on_reading(queue, reading, told=told)


async def nobody(_: Endpoint) -> Credentials:
    return Credentials()


@asynccontextmanager
async def reading(
    redis: FakeRedis,
    ears: Ears,
    *queues: str,
    credentials: Callable[[Endpoint], Awaitable[Credentials]] = nobody,
    timing: Timing = TIMING,
) -> AsyncIterator[QueueReader]:
    endpoint = Endpoint("redis://fake", Key("shop", "redis"))
    reader = QueueReader(endpoint, ears, credentials, timing, redis.connect)
    for queue in queues or (QUEUE,):
        reader.add(queue)
    task = asyncio.create_task(reader.run())
    try:
        yield reader
        assert not task.done(), "a reader never ends by itself"
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert redis.connections == [], "it leaves no connection behind"


@pytest.fixture
async def redis() -> FakeRedis:
    return FakeRedis(latency=LATENCY)


@pytest.fixture
def ears() -> Ears:
    return Ears()


# --- when it reads


async def test_an_idle_queue_is_read_once_and_then_every_safety_poll(
    redis: FakeRedis, ears: Ears
) -> None:
    async with reading(redis, ears):
        await asyncio.sleep(100)

    assert ears.times() == [0.002, 30.003, 60.004, 90.005]


async def test_between_readings_of_idle_queues_a_ping_proves_the_connection(
    redis: FakeRedis, ears: Ears
) -> None:
    async with reading(redis, ears):
        await asyncio.sleep(29)

    assert [what for _, what in redis.log] == ["connect", QUEUE, *["ping"] * 5]


async def test_a_change_is_read_at_once(redis: FakeRedis, ears: Ears) -> None:
    async with reading(redis, ears):
        await asyncio.sleep(10)
        redis.put(QUEUE, Backlog(200))
        await asyncio.sleep(1)

    assert ears.heard[-1] == (10.001, QUEUE, Backlog(200), 10)


async def test_when_the_change_was_told_is_said_once(redis: FakeRedis, ears: Ears) -> None:
    ears.moving = {QUEUE}
    async with reading(redis, ears):
        await asyncio.sleep(10)
        ears.heard.clear()
        redis.put(QUEUE, Backlog(1))
        await asyncio.sleep(1)

    assert [told for *_, told in ears.heard if told is not None] == [10]


async def test_a_moving_queue_is_read_again_soon_then_less_often_up_to_a_tick(
    redis: FakeRedis, ears: Ears
) -> None:
    ears.moving = {QUEUE}
    async with reading(redis, ears):
        await asyncio.sleep(1.4)

    times = ears.times()
    pauses = [round(b - a - LATENCY, 3) for a, b in itertools.pairwise(times)]
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25, 0.25, 0.25]


async def test_a_queue_that_came_to_rest_is_left_alone(redis: FakeRedis, ears: Ears) -> None:
    ears.moving = {QUEUE}
    async with reading(redis, ears):
        await asyncio.sleep(5)
        ears.moving.clear()
        await asyncio.sleep(0.5)
        ears.heard.clear()
        await asyncio.sleep(25)

    assert ears.heard == []


async def test_a_change_of_a_moving_queue_starts_the_pauses_anew(
    redis: FakeRedis, ears: Ears
) -> None:
    ears.moving = {QUEUE}
    async with reading(redis, ears):
        await asyncio.sleep(5.1)
        redis.put(QUEUE, Backlog(1))
        await asyncio.sleep(0.05)

    changed = 5.1 + LATENCY
    after = [round(at - changed, 3) for at in ears.times() if at >= changed]
    assert after == [0, 0.011, 0.032]


async def test_without_tracking_every_queue_is_read_every_tick(
    redis: FakeRedis, ears: Ears
) -> None:
    redis.tracks = False
    async with reading(redis, ears):
        await asyncio.sleep(10)

    times = ears.times()
    assert 38 <= len(times) <= 40
    assert max(b - a for a, b in itertools.pairwise(times)) <= 0.26


async def test_what_is_due_at_once_is_read_in_one_piece(redis: FakeRedis, ears: Ears) -> None:
    queues = [f"q{number}" for number in range(PIPELINE_QUEUES + 7)]
    async with reading(redis, ears, *queues):
        await asyncio.sleep(1)

    assert [what.split() for _, what in redis.log[1:]] == [
        queues[:PIPELINE_QUEUES],
        queues[PIPELINE_QUEUES:],
    ]


async def test_a_poke_while_the_answer_is_on_its_way_is_not_lost(
    redis: FakeRedis, ears: Ears
) -> None:
    """The answer was made before the change, and the report of it came before the answer."""
    redis.latency = 1.0
    async with reading(redis, ears):
        await asyncio.sleep(1.5)  # connected at 1, asked, not answered before 2
        redis.put(QUEUE, Backlog(5))
        await asyncio.sleep(3)

    assert ears.readings() == [Backlog(0), Backlog(5)]
    assert ears.heard[-1][3] == 1.5


async def test_a_queue_added_later_is_read_at_once(redis: FakeRedis, ears: Ears) -> None:
    async with reading(redis, ears) as reader:
        await asyncio.sleep(10)
        reader.add(OTHER)
        await asyncio.sleep(1)

    assert ears.times(OTHER) == [10.001]
    assert ears.times(QUEUE) == [0.002], "and nobody else is read for it"


async def test_a_queue_dropped_while_it_is_read_is_not_read_again(
    redis: FakeRedis, ears: Ears
) -> None:
    redis.latency = 1.0
    ears.moving = {QUEUE, OTHER}
    async with reading(redis, ears, QUEUE, OTHER) as reader:
        await asyncio.sleep(1.5)
        reader.discard(OTHER)
        await asyncio.sleep(10)
        assert list(reader.queues) == [QUEUE]

    assert len(ears.times(OTHER)) <= 1
    assert len(ears.times(QUEUE)) > 3


async def test_a_queue_dropped_and_added_again_while_it_is_read_is_read_again(
    redis: FakeRedis, ears: Ears
) -> None:
    redis.latency = 1.0
    async with reading(redis, ears) as reader:
        await asyncio.sleep(1.5)
        reader.discard(QUEUE)
        reader.add(QUEUE)
        await asyncio.sleep(2)

    assert ears.times() == [2, 3]


async def test_a_flush_is_read_at_once_everywhere(redis: FakeRedis, ears: Ears) -> None:
    redis.put(QUEUE, Backlog(3))
    async with reading(redis, ears, QUEUE, OTHER):
        await asyncio.sleep(10)
        ears.heard.clear()
        redis.flush()
        await asyncio.sleep(1)

    assert [(name, r) for _, name, r, _ in ears.heard] == [
        (QUEUE, Backlog(0)),
        (OTHER, Backlog(0)),
    ]


# --- when Redis is in trouble


async def test_a_redis_that_cannot_be_reached_is_tried_later_and_later(
    redis: FakeRedis, ears: Ears
) -> None:
    redis.refused_until_told = Unreadable("refused")
    async with reading(redis, ears):
        await asyncio.sleep(60)

    attempts = [at for at, what in redis.log if what == "connect"]
    pauses = [b - a - LATENCY for a, b in itertools.pairwise(attempts)]
    for number, pause in enumerate(pauses):
        longest = min(0.05 * 2**number, 5.0)
        assert longest / 2 - 0.001 <= pause <= longest + 0.001
    assert len(pauses) > 12, "but never much later"


async def test_every_attempt_is_told_for_every_queue(redis: FakeRedis, ears: Ears) -> None:
    redis.refused_until_told = Unreadable("refused", reason="Loading")
    async with reading(redis, ears, QUEUE, OTHER):
        await asyncio.sleep(0.02)

    assert [(name, str(r)) for _, name, r, _ in ears.heard] == [
        (QUEUE, "refused"),
        (OTHER, "refused"),
    ]


async def test_a_connection_that_ends_is_no_news_while_another_can_be_made(
    redis: FakeRedis, ears: Ears
) -> None:
    """Proxies end idle connections; a hold each time would keep a pool from shrinking."""
    async with reading(redis, ears):
        for _ in range(5):
            await asyncio.sleep(10)
            redis.cut()
        await asyncio.sleep(1)

    assert ears.troubles() == []
    assert [at for at, what in redis.log if what == "connect"][1:] == [
        pytest.approx(at, abs=0.1) for at in (10, 20, 30, 40, 50)
    ]


async def test_after_a_connection_ended_everything_is_read_again(
    redis: FakeRedis, ears: Ears
) -> None:
    async with reading(redis, ears):
        await asyncio.sleep(10)
        for connection in redis.connections:
            connection.tracked.clear()  # the change gets lost along with the connection
        redis.put(QUEUE, Backlog(9))
        redis.cut()
        await asyncio.sleep(0.1)

    assert ears.readings() == [Backlog(0), Backlog(9)]


async def test_a_redis_that_went_away_is_told_within_a_moment(
    redis: FakeRedis, ears: Ears
) -> None:
    async with reading(redis, ears):
        await asyncio.sleep(10)
        redis.refused_until_told = Unreadable("refused")
        redis.cut()
        await asyncio.sleep(0.1)

    at, reason = ears.troubles()[0]
    assert 10 < at < 10.06
    assert reason == "Unreachable"


async def test_a_redis_that_came_back_is_read_soon(redis: FakeRedis, ears: Ears) -> None:
    redis.refused_until_told = Unreadable("refused")
    async with reading(redis, ears):
        await asyncio.sleep(300)
        redis.refused_until_told = None
        redis.put(QUEUE, Backlog(4))
        await asyncio.sleep(5.1)

    assert ears.readings()[-1] == Backlog(4)


async def test_a_redis_that_stalls_is_told_after_the_timeouts(
    redis: FakeRedis, ears: Ears
) -> None:
    """One for the answer, one for the next connection."""
    async with reading(redis, ears):
        await asyncio.sleep(1)
        with redis.frozen():
            await asyncio.sleep(20)
        await asyncio.sleep(10)

    at, reason = ears.troubles()[0]
    assert reason == "Unreachable"
    assert at <= 1 + 3 * TIMING.timeout + 0.1
    assert ears.readings()[-1] == Backlog(0)


async def test_a_redis_that_lets_in_but_never_answers_is_not_stormed(
    redis: FakeRedis, ears: Ears
) -> None:
    """While it loads its data, it accepts connections and refuses every reading."""
    redis.unreadable = Unreadable("is still loading its data", reason="Loading")
    async with reading(redis, ears):
        await asyncio.sleep(60)

    assert len(redis.log) < 60
    assert {reason for _, reason in ears.troubles()} == {"Loading"}


async def test_a_queue_that_is_no_list_is_told_and_read_on(redis: FakeRedis, ears: Ears) -> None:
    redis.put_string(QUEUE)
    async with reading(redis, ears):
        await asyncio.sleep(1)

    assert ears.troubles() == [(0.002, "NotAList")]


# --- credentials


async def test_credentials_are_read_anew_for_each_attempt(redis: FakeRedis, ears: Ears) -> None:
    redis.password = "new"  # noqa: S105
    secret = {"password": "old"}

    async def read(_: Endpoint) -> Credentials:
        return Credentials(password=secret["password"])

    async with reading(redis, ears, credentials=read):
        await asyncio.sleep(30)
        secret["password"] = "new"  # noqa: S105
        await asyncio.sleep(5.1)

    assert {reason for _, reason in ears.troubles()} == {"AuthenticationFailed"}
    assert ears.readings()[-1] == Backlog(0)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (NotFound("404"), "SecretMissing", "Secret shop/redis does not exist"),
        (Forbidden("403 no"), "Unreachable", "credentials for Redis cannot be read: 403 no"),
        (ApplyFailed("timeout"), "Unreachable", "credentials for Redis cannot be read: timeout"),
        (ValueError("a defect"), "InternalError", "a defect"),
    ],
)
async def test_credentials_that_cannot_be_read_are_a_trouble_like_any_other(
    redis: FakeRedis, ears: Ears, error: Exception, reason: str, words: str
) -> None:
    async def read(_: Endpoint) -> Credentials:
        raise error

    async with reading(redis, ears, credentials=read):
        await asyncio.sleep(60)

    assert redis.log == [], "nobody is asked without them"
    assert 12 < len(ears.troubles()) < 40
    first = ears.readings()[0]
    assert isinstance(first, Unreadable)
    assert first.reason == reason
    assert words in str(first)


# --- health


async def test_progress_is_made_in_good_times_and_in_bad(redis: FakeRedis, ears: Ears) -> None:
    async with reading(redis, ears) as reader:
        for trouble in (None, Unreadable("refused")):
            redis.refused_until_told = trouble
            redis.cut()
            await asyncio.sleep(1)
            for _ in range(60):
                await asyncio.sleep(1)
                assert now() - reader.progress_at <= 2 * TIMING.timeout + 0.1


# --- what workers tell


async def test_workers_are_surveyed_slowly_where_there_are_any(redis: FakeRedis) -> None:
    ears = Ears()
    redis.put(QUEUE, Backlog(0, workers=2))
    redis.put(OTHER, Backlog(0))
    report = Report("w", Key("shop", "images"), pod="p", node="n", cpus=frozenset({1}))
    redis.surveys[QUEUE] = Survey(2, (report,))
    async with reading(redis, ears, QUEUE, OTHER):
        await asyncio.sleep(25)
        first, second = ears.surveys
        assert [at for at, _, _ in ears.surveys] == pytest.approx([10, 20], abs=0.1)
        assert first[1:] == second[1:] == (QUEUE, Survey(2, (report,)))

        redis.put(QUEUE, Backlog(1))  # which also has it read: there is no worker any more
        await asyncio.sleep(20)
        assert [survey for _, _, survey in ears.surveys[2:]] == [Survey()], "told once"


async def test_a_survey_that_fails_disturbs_no_reading(redis: FakeRedis) -> None:
    ears = Ears(moving={QUEUE})
    redis.put(QUEUE, Backlog(3, workers=1))
    redis.surveys[QUEUE] = refused = Unreadable("grant +zrandmember", reason="PermissionDenied")
    async with reading(redis, ears):
        await asyncio.sleep(12)
        assert [survey for _, _, survey in ears.surveys] == [refused]
        assert ears.troubles() == []
        assert len(ears.times()) > 40


async def test_a_queue_that_is_dropped_while_others_are_read_harms_nobody() -> None:
    names = [f"q{number}" for number in range(PIPELINE_QUEUES + 10)]
    redis, ears = FakeRedis(latency=LATENCY), Forgetful(names[-1])
    async with reading(redis, ears, *names) as reader:
        ears.reader = reader
        await asyncio.sleep(1)
    assert ears.troubles() == []
    assert {name for _, name, _, _ in ears.heard} == set(names[:-1])


async def test_a_listener_that_fails_does_not_end_the_reading() -> None:
    class Failing(Ears):
        def on_reading(
            self, queue: str, reading: Backlog | Unreadable, *, told: float | None
        ) -> bool:
            if len(self.heard) < 3:
                self.heard.append((now(), queue, reading, told))
                raise RuntimeError("a defect")
            return super().on_reading(queue, reading, told=told)

    redis, ears = FakeRedis(latency=LATENCY), Failing()
    async with reading(redis, ears):
        await asyncio.sleep(60)
    assert ears.readings()[-1] == Backlog(0)
