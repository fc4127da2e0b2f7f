"""The tool's reading of a queue against what the worker's own scripts write."""

import secrets
from datetime import timedelta

import pytest
import redis

from image_worker.leases import Leases
from workerpool_cli.errors import RedisTrouble
from workerpool_cli.model import Envelope
from workerpool_cli.queues import PAGE, Queue

SOON = timedelta(minutes=5)


def claimed(leases: Leases, worker: str = "worker") -> str:
    claim = leases.claim(worker, f"{worker}-{secrets.token_hex(4)}")
    assert claim.lease is not None
    return claim.lease.name


def test_every_state_of_a_job_is_seen_once(queue: Queue, leases: Leases) -> None:
    queue.push([b'{"n": %d}' % n for n in range(7)])
    leases.fail(claimed(leases), reason="Timeout", sentence="", max_attempts=5, delay=SOON)
    leases.crash(claimed(leases), reason="Crash", sentence="it is gone")
    leases.bury(claimed(leases), reason="BadJson", sentence="no JSON")
    assert leases.wait("blocked", timedelta(seconds=1))
    due = claimed(leases)  # the next new job, since new ones go first
    leases.claim("worker", "worker-next", finished=(due, 250))
    seen = queue.snapshot()
    assert (seen.waiting, seen.due, seen.scheduled, seen.dead) == (2, 1, 1, 1)
    assert [lease.id for lease in seen.in_flight] == ["worker-next"]
    assert {worker.id for worker in seen.workers} == {"worker", "blocked"}
    assert (seen.stats.done, seen.stats.failed, seen.stats.crashed, seen.stats.dead) == (
        1,
        2,
        1,
        1,
    )
    assert seen.stats.mean_job_seconds == 0.25
    assert seen.unfinished == 5
    assert seen.live_leases == 1
    assert seen.next_retry_ms is not None
    assert seen.next_retry_ms <= seen.now_ms


def test_an_empty_queue_is_all_zero(queue: Queue) -> None:
    seen = queue.snapshot()
    assert (seen.unfinished, seen.dead, seen.workers, seen.next_retry_ms) == (0, 0, (), None)


def test_a_letter_tells_what_the_worker_wrote(queue: Queue, leases: Leases) -> None:
    raw = b'{"filename": "a\nb\xff.jpg"}'
    queue.push([raw])
    lease = claimed(leases)
    leases.fail(lease, reason="Timeout", sentence="first", max_attempts=2, delay=timedelta())
    second = claimed(leases)
    leases.bury(second, reason="Bad File", sentence="line\nbreak: grüße")
    (letter,) = queue.letters()
    assert letter.id == second
    assert letter.envelope is not None
    seen = letter.envelope.first_seen_ms
    assert letter.envelope == Envelope(lease, 2, 0, seen, "Bad_File", "line break: grüße", raw)
    assert abs(queue.now_ms() - letter.died_ms) < 60_000


def test_workers_are_shown_as_they_describe_themselves(queue: Queue, leases: Leases) -> None:
    queue.push([b'{"filename": "a.jpg"}'])
    claimed(leases, "w1")
    leases.beat(["w1"], [])
    leases.record("w1", {"pod": "pod-1", "node": "", "cpu": "3", "started": "1700000000000"})
    leases.claim("w2", "w2-1")
    first, second = sorted(queue.workers(queue.snapshot()), key=lambda worker: worker.id)
    assert (first.pod, first.node, first.cpu, first.started_ms) == (
        "pod-1",
        "",
        "3",
        1_700_000_000_000,
    )
    assert first.job is not None
    assert first.job.raw == b'{"filename": "a.jpg"}'
    assert (second.pod, second.job, second.silent) == ("", None, False)


def test_a_requeued_job_is_new_to_the_workers(queue: Queue, leases: Leases) -> None:
    queue.push([b"first", b"second"])
    name = claimed(leases)
    leases.crash(name, reason="Crash", sentence="")
    again = leases.claim("worker", "worker-again", retries_first=True).lease
    assert again is not None
    assert again.crashes == 1
    leases.bury(again.name, reason="BadJson", sentence="")
    assert queue.requeue([again.name, "unknown"]) == ["requeued", "gone"]
    assert list(queue.waiting()) == [b"first", b"second"]  # from the tail
    assert queue.snapshot().dead == 0
    assert queue.envelopes([again.name]) == {}
    claimed(leases)
    fresh = leases.claim("worker", "worker-fresh").lease
    assert fresh is not None
    assert (fresh.raw, fresh.attempts, fresh.crashes, fresh.job_id) == (
        b"first",
        0,
        0,
        "worker-fresh",
    )


def test_a_job_in_work_cannot_be_requeued_or_dropped(queue: Queue, leases: Leases) -> None:
    queue.push([b"{}"])
    lease = claimed(leases)
    assert queue.requeue([lease]) == ["gone"]
    assert queue.drop([lease]) == ["gone"]
    assert queue.snapshot().live_leases == 1
    assert leases.claim("worker", "next", finished=(lease, 1)).acked


def test_unreadable_letters_stay_until_they_are_dropped(
    queue: Queue, client: "redis.Redis"
) -> None:
    client.zadd(queue.keys.dead, {"no-envelope": 1, "no-line": 2})
    client.hset(queue.keys.jobs, "no-line", "garbage")
    assert [letter.envelope for letter in queue.letters()] == [None, None]
    assert queue.requeue(["no-envelope", "no-line"]) == ["unreadable", "unreadable"]
    assert queue.drop(["no-envelope", "no-line"]) == ["dropped", "dropped"]
    assert client.exists(queue.keys.dead, queue.keys.jobs) == 0


@pytest.mark.parametrize("at_once", [1, 700, 10_000])
def test_letters_come_newest_first_and_each_once(
    queue: Queue, client: "redis.Redis", at_once: int
) -> None:
    scores = {f"letter-{n}": n // at_once for n in range(3 * PAGE + 7)}
    client.zadd(queue.keys.dead, scores)
    read = list(queue.letters())
    assert sorted(letter.id for letter in read) == sorted(scores)
    assert [letter.died_ms for letter in read] == sorted(scores.values(), reverse=True)


def test_the_list_is_read_whole_while_it_moves(queue: Queue, client: "redis.Redis") -> None:
    stay = [b"stay-%d" % n for n in range(3 * PAGE)]
    queue.push([b"go"] * PAGE + stay)
    read = []
    for number, raw in enumerate(queue.waiting()):
        read.append(raw)
        if number % 100 == 0:
            client.lpop(queue.keys.list, 20)
            client.rpush(queue.keys.list, "new")
    assert set(stay) <= set(read)


def test_the_scripts_survive_a_flush_of_the_script_cache(
    queue: Queue, client: "redis.Redis"
) -> None:
    assert queue.requeue(["x"]) == ["gone"]
    client.script_flush()
    assert queue.requeue(["x"]) == ["gone"]


def test_what_is_no_list_is_refused(queue: Queue, client: "redis.Redis") -> None:
    client.set(queue.keys.list, "x")
    with pytest.raises(RedisTrouble, match="is a string in this Redis"):
        queue.check()
