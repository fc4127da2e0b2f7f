"""The storm's audit sees what it is there to see: one wrong thing at a time is shown to it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from support.chaos import books, retiring, witnesses
from support.chaos.diary import Entry, What
from support.chaos.jobs import Fate
from support.chaos.retiring import Closer, Closure
from support.chaos.verdict import Verdict
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer
from workerpool_operator import roster

CLOSURE = Closure("pod", (LIST,), since_ms=1000, until_ms=2000)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def queue(server: RedisServer) -> QueueState:
    client = server.client()
    client.flushall()
    return QueueState(client)


def begun(name: str, *, at_ms: int, due_ms: int) -> Entry:
    return Entry(What.BEGUN, "pod", at_ms, at_ms, name, LIST, due_ms)


def claimed(since_ms: int, at_ms: int, *, pod: str = "pod") -> Entry:
    return Entry(What.CLAIMED, pod, since_ms, at_ms)


def test_a_run_before_its_time_is_seen() -> None:
    verdict = Verdict()
    runs = [begun("late", at_ms=9, due_ms=8), begun("in-time", at_ms=8, due_ms=8)]
    witnesses.nothing_too_early(verdict, runs)
    assert verdict.problems == []
    witnesses.nothing_too_early(verdict, [*runs, begun("early", at_ms=7, due_ms=8)])
    assert verdict.problems == ["begun before their time: 1, as ['early 1 ms']"]


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        (claimed(1001, 1999), True),
        (claimed(1001, 1999, pod="another"), False),
        (claimed(1000, 1500), False),  # it may have been granted just before
        (claimed(1500, 2000), False),  # … or just after
    ],
)
def test_a_claim_in_a_closed_pod_is_seen(claim: Entry, *, wrong: bool) -> None:
    verdict = Verdict()
    witnesses.nobody_closed_claims(verdict, [claim], [CLOSURE])
    assert bool(verdict.problems) == wrong


def test_a_pod_that_was_closed_with_a_job_is_seen() -> None:
    verdict = Verdict()
    busy = Closure("pod", (LIST,), since_ms=1000, until_ms=2000, held=("w@pod-1",))
    witnesses.nobody_closed_claims(verdict, [], [busy])
    assert verdict.problems == ["leases of pods that were closed as idle: 1, as ['w@pod-1']"]


@pytest.mark.parametrize(("looked_ms", "held"), [(1999, ["w@pod-1"]), (2000, [])])
def test_a_pod_that_was_looked_at_when_its_mark_had_ended_may_have_jobs(
    queue: QueueState, monkeypatch: pytest.MonkeyPatch, looked_ms: int, held: list[str]
) -> None:
    async def granted(*_: object) -> bool:
        return True

    times = iter((1000, 1001, looked_ms))
    monkeypatch.setattr(retiring, "now_ms", lambda: next(times))
    monkeypatch.setattr(roster, "retire", granted)
    queue.client.zadd(f"{queue.prefix}inflight", {"w@pod-1": 1})
    closure = Closer(queue.client).close("pod", (LIST,), timedelta(seconds=1))
    assert closure is not None
    assert list(closure.held) == held


def test_a_good_end_of_a_queue_is_no_problem(queue: QueueState) -> None:
    verdict = Verdict()
    finish(queue)
    books.look(verdict, queue, fate())
    books.look_at_keys(verdict, queue, fate())
    assert verdict.problems == []


@pytest.mark.parametrize(
    ("field", "by", "problem"),
    [
        ("done", 1, "acknowledged: 2, expected 1"),
        ("done", -1, "acknowledged: 0, expected 1"),
        ("duplicate", 1, "forgotten, as their id was done: 2, expected 1"),
        ("duplicate", -1, "forgotten, as their id was done: 0, expected 1"),
        ("dead", 1, "buried by the counters: 1, expected 0"),
    ],
)
def test_a_push_that_ended_otherwise_is_seen(
    queue: QueueState, field: str, by: int, problem: str
) -> None:
    verdict = Verdict()
    finish(queue)
    queue.client.hincrby(f"{queue.prefix}stats", field, by)
    books.look(verdict, queue, fate())
    assert verdict.problems == [f"of {LIST}: {problem}"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ('RPUSH results {"filename":"a"}', "results listed twice: 1, as ['a']"),
        ('RPUSH results {"filename":"b"}', "results of other jobs: 1, as ['b']"),
        ("DEL results", "results not listed: 1, as ['a']"),
        ("HSET jobs lease envelope", "jobs that Redis still holds: 1, expected 0"),
    ],
)
def test_a_result_or_a_job_too_many_or_too_few_is_seen(
    queue: QueueState, command: str, problem: str
) -> None:
    verdict = Verdict()
    finish(queue)
    run(queue, command)
    books.look(verdict, queue, fate())
    assert verdict.problems == [f"of {LIST}: {problem}"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("ZADD workers 1 w", "keys left: 1, as ['workers']"),
        ("RPUSH landing x", "keys left: 1, as ['landing']"),
        ("HSET worker:w pid 1", "keys that never expire: 1, as ['worker:w']"),
        ("PERSIST id:work-3", "keys that never expire: 1, as ['id:work-3']"),
        ("SET id:work-3 lease PX 9999", "ids not remembered as done: 1, as ['work-3']"),
        ("DEL id:work-3", "ids not remembered as done: 1, as ['work-3']"),
    ],
)
def test_a_key_that_should_not_be_so_is_seen(
    queue: QueueState, command: str, problem: str
) -> None:
    verdict = Verdict()
    finish(queue)
    run(queue, command)
    books.look_at_keys(verdict, queue, fate())
    assert verdict.problems == [f"of {LIST}: {problem}"]


def fate() -> Fate:
    return Fate(pushes=2, outputs={"a": b""}, ids={"work-3"})


def finish(queue: QueueState) -> None:
    """Leave what is left when two pushes with one id were done once."""
    run(queue, "HSET stats done 1 duplicate 1")
    run(queue, 'RPUSH results {"filename":"a"}')
    run(queue, "SET id:work-3 done PX 86400000")


def run(queue: QueueState, command: str) -> None:
    word, key, *rest = command.split(" ")
    queue.client.execute_command(word, queue.prefix + key, *rest)
