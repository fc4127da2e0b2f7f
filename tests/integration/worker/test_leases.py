"""Each call of the protocol against a real Redis, and the points where a caller may die."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from image_worker import telemetry
from image_worker.envelope import Lease
from image_worker.errors import QueueUnavailable
from image_worker.job import MAX_PAYLOAD_BYTES
from image_worker.keys import keys_of
from image_worker.leases import MAX_CRASHES, Leases
from image_worker.link import connect
from image_worker.settings import LogFormat, RedisSettings
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer
from support.waiting import eventually

LEASE = timedelta(seconds=15)
LEASE_MS = 15_000
HOUR = timedelta(hours=1)
BINARY = b'{"filename":"a.jpg"}\r\n\x00\xff\n second line \xe2\x98\x83'
T = TypeVar("T")


@pytest.fixture
def leases(server: RedisServer, client: redis.Redis) -> Iterator[Leases]:
    assert client.ping()
    made = Leases(
        connect(RedisSettings(server.url, None, None, None), "test"), keys_of(LIST), LEASE
    )
    yield made
    made.close()


def claimed(leases: Leases, token: str = "w-0", worker: str = "w") -> Lease:  # noqa: S107
    lease = leases.claim(worker, token).lease
    assert lease is not None
    return lease


def timed(queue: QueueState, call: Callable[[], T]) -> tuple[T, range]:
    """Make a call; return its answer, and in which milliseconds of Redis's clock that was."""
    before = queue.now_ms
    answer = call()
    return answer, range(before, queue.now_ms + 1)


def claimed_nothing(leases: Leases, token: str, worker: str) -> bool:
    return leases.claim(worker, token).lease is None


class TestClaim:
    def test_the_first_waiting_job_is_taken_with_its_very_bytes(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY, "second")
        lease, then = timed(queue, lambda: claimed(leases))
        assert lease == Lease("w-0", "w-0", 0, 0, BINARY)
        assert queue.waiting == [b"second"]
        assert queue.members("inflight")["w-0"] - LEASE_MS in then
        assert queue.members("workers")["w"] - LEASE_MS in then

    def test_nothing_waiting_is_an_answer_too(self, leases: Leases, queue: QueueState) -> None:
        claim = leases.claim("w", "w-0")
        assert (claim.acked, claim.lease, claim.due_in, claim.spent) == (False, None, None, False)
        assert queue.jobs == 0

    def test_a_repeated_claim_gets_the_same_job_again(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first", "second")
        first = claimed(leases)
        assert claimed(leases) == first
        assert queue.waiting == [b"second"]
        assert set(queue.members("inflight")) == {"w-0"}

    def test_a_repeated_claim_gets_the_same_retried_job_again(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first")
        claimed(leases, "w-0")
        leases.crash("w-0", reason="Crash", sentence="")
        queue.push("second")
        first = leases.claim("w", "w-1", retries_first=True).lease
        assert first is not None
        assert first.raw == b"first"
        assert leases.claim("w", "w-1", retries_first=False).lease == first
        assert queue.waiting == [b"second"]

    def test_a_token_whose_job_others_took_back_is_spent(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first", "second")
        claimed(leases, "w-0")
        queue.expire("inflight", "w-0")
        leases.reap(blame_after_ms=0)
        claim = leases.claim("w", "w-0")
        assert claim.spent
        assert claim.lease is None
        assert queue.waiting == [b"second"]

    def test_the_finished_job_is_acknowledged_on_the_way(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first", "second")
        claimed(leases, "w-0")
        claim = leases.claim("w", "w-1", finished=("w-0", 42))
        assert claim.acked
        assert claim.lease is not None
        assert set(queue.members("inflight")) == {"w-1"}
        assert queue.stats == {"done": 1, "busy_ms": 42}
        assert queue.jobs == 1

    def test_an_ack_after_the_lease_was_lost_counts_nothing(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first")
        claimed(leases, "a-0", "a")
        queue.expire("inflight", "a-0")
        leases.reap(blame_after_ms=0)
        again = claimed(leases, "b-0", "b")
        assert again.raw == b"first"
        claim = leases.claim("a", "a-1", finished=("a-0", 42))
        assert not claim.acked
        assert queue.stats.get("done") is None
        assert set(queue.members("inflight")) == {"b-0"}, "b's lease is not a's to end"
        assert leases.claim("b", "b-1", finished=("b-0", 1)).acked
        assert queue.jobs == 0

    def test_what_landed_comes_before_everything_else(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("landed", "second")
        assert leases.wait("w", timedelta(seconds=1))
        assert queue.landed == [b"landed"]
        assert claimed(leases).raw == b"landed"
        assert queue.landed == []

    def test_retries_and_new_jobs_can_take_turns(self, leases: Leases, queue: QueueState) -> None:
        queue.push("retried")
        claimed(leases, "w-0")
        leases.crash("w-0", reason="Crash", sentence="")
        queue.push("new")
        assert leases.claim("w", "w-1", retries_first=False).lease == Lease(
            "w-1", "w-1", 0, 0, b"new"
        )
        assert leases.claim("w", "w-2", retries_first=False).lease == Lease(
            "w-2", "w-0", 0, 1, b"retried"
        )

    def test_what_is_too_long_is_buried_unsent_and_the_next_job_is_taken(
        self, leases: Leases, queue: QueueState
    ) -> None:
        longest, too_long = b" " * MAX_PAYLOAD_BYTES, b" " * (MAX_PAYLOAD_BYTES + 1)
        queue.push(too_long)
        assert leases.wait("w", timedelta(seconds=1))
        queue.push(too_long, longest)
        assert queue.landed == [too_long]
        assert claimed(leases) == Lease("w-0", "w-0", 0, 0, longest)
        assert len(queue.members("dead")) == 2
        for name in queue.members("dead"):
            line, raw = queue.envelope(name)
            assert raw == too_long
            assert line.startswith(f"{name} 1 0 ")
            assert line.endswith(
                "PayloadTooLarge the payload has 1048577 bytes; 1048576 are the most: "
                "push the name of the file, not the file"
            )
        assert queue.stats == {"failed": 2, "dead": 2}
        assert queue.jobs == 3

    def test_many_that_are_too_long_are_buried_some_at_a_time_each_under_its_own_name(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(*[f"{number:02}" + " " * MAX_PAYLOAD_BYTES for number in range(25)], "job")
        for buried in (10, 20):
            claim = leases.claim("w", "w-0")  # as the worker does that got nothing
            assert (claim.lease, claim.due_in, claim.refused) == (None, timedelta(0), 10)
            assert len(queue.members("dead")) == buried
        claim = leases.claim("w", "w-0")
        assert claim.lease is not None
        assert (claim.lease.raw, claim.refused) == (b"job", 5)
        assert leases.claim("w", "w-0").refused == 0  # told once
        names = queue.members("dead")
        assert sorted(queue.envelope(name)[1][:2] for name in names) == [
            b"%02d" % number for number in range(25)
        ]

    def test_a_retry_that_is_too_long_for_us_is_buried_too(
        self, leases: Leases, queue: QueueState
    ) -> None:
        envelope = b"a-0 1 1 1700000000000 R was tried\n" + b" " * (MAX_PAYLOAD_BYTES + 1)
        queue.client.hset(queue.prefix + "jobs", "a-1", envelope)
        queue.client.zadd(queue.prefix + "retry", {"a-1": 1})
        queue.push("job")
        assert leases.claim("w", "w-0", retries_first=True).lease == Lease(
            "w-0", "w-0", 0, 0, b"job"
        )
        assert set(queue.members("dead")) == {"a-1"}
        assert queue.envelope("a-1")[0].startswith("a-0 2 1 1700000000000 PayloadTooLarge ")

    def test_it_says_when_the_next_retry_is_due(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases)
        leases.fail("w-0", reason="R", sentence="", max_attempts=5, delay=HOUR)
        claim, then = timed(queue, lambda: leases.claim("w", "w-1"))
        assert claim.due_in is not None
        assert queue.members("retry")["w-0"] - claim.due_in / timedelta(milliseconds=1) in then
        queue.expire("retry", "w-0")
        assert leases.claim("w", "w-1").lease == Lease("w-1", "w-0", 1, 0, b"job")

    @pytest.mark.parametrize(
        "envelope", [b"no envelope at all", b"", b"a b c d \n", b"\xff 0 1\n", b"a 1 1 x\nraw"]
    )
    def test_an_envelope_nobody_can_read_is_buried_and_the_next_job_is_taken(
        self,
        leases: Leases,
        queue: QueueState,
        envelope: bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        written, log = io.BytesIO(), telemetry.Log()
        log.configure("ERROR", LogFormat.JSON, written, wall_clock=lambda: 0.0)
        monkeypatch.setattr(telemetry, "log", log)
        queue.client.zadd(queue.prefix + "retry", {"odd": 1})
        queue.client.hset(queue.prefix + "jobs", "odd", envelope)
        queue.push("job")
        finished = claimed(leases)
        claim = leases.claim("w", "w-1", finished=(finished.name, 1), retries_first=True)
        assert (claim.acked, claim.lease, claim.spent) == (True, None, True)
        assert set(queue.members("dead")) == {"w-1"}, "where a person finds it"
        assert queue.client.hget(queue.prefix + "jobs", "w-1") == envelope
        assert json.loads(written.getvalue())["reason"] == "BadEnvelope"
        queue.push("job")
        assert claimed(leases, "w-2").raw == b"job"
        assert queue.members("retry") == {}

    def test_an_entry_whose_job_is_gone_does_not_block_the_rest(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.client.zadd(queue.prefix + "retry", {"ghost": 1})
        queue.push("job")
        assert leases.claim("w", "w-0", retries_first=True).lease == Lease(
            "w-0", "w-0", 0, 0, b"job"
        )
        assert queue.members("retry") == {}


class TestRetired:
    """What a retired pod's workers are told; who retires it: tests/integration/operator."""

    def retire(self, queue: QueueState, pod: str, milliseconds: int = 3_600_000) -> None:
        queue.client.zadd(queue.prefix + "retired", {pod: queue.now_ms + milliseconds})

    def test_its_workers_get_no_job_and_others_do(self, leases: Leases, queue: QueueState) -> None:
        queue.push("first")
        self.retire(queue, "pod-a")
        claim = leases.claim("1@pod-a", "1@pod-a-0")
        assert (claim.lease, claim.spent, claim.due_in) == (None, False, None)
        assert claim.retired_for is not None
        assert timedelta(minutes=59) < claim.retired_for <= HOUR
        assert leases.claim("2@pod-a", "2@pod-a-0").retired_for, "all workers of the pod"
        assert claimed(leases, "3@pod-ab-0", "3@pod-ab").raw == b"first"

    def test_a_worker_without_a_pod_cannot_be_retired(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first")
        self.retire(queue, "w")
        assert claimed(leases).raw == b"first"

    def test_what_landed_with_it_goes_back_to_the_head_uncounted(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("landed", "second")
        assert leases.wait("1@pod-a", timedelta(seconds=1))
        self.retire(queue, "pod-a")
        assert leases.claim("1@pod-a", "1@pod-a-0").retired_for
        assert queue.waiting == [b"landed", b"second"]
        assert (queue.jobs, queue.stats) == (0, {})
        assert claimed(leases, "2@pod-b-0", "2@pod-b") == Lease(
            "2@pod-b-0", "2@pod-b-0", 0, 0, b"landed"
        )

    def test_it_ends_by_itself(self, leases: Leases, queue: QueueState) -> None:
        """An operator that vanished must not leave workers without work for ever."""
        queue.push("first")
        self.retire(queue, "pod-a", -1)
        assert claimed(leases, "1@pod-a-0", "1@pod-a").raw == b"first"

    def test_a_finished_job_is_acknowledged_all_the_same(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("first", "second")
        claimed(leases, "1@pod-a-0", "1@pod-a")
        self.retire(queue, "pod-a")
        claim = leases.claim("1@pod-a", "1@pod-a-1", finished=("1@pod-a-0", 42))
        assert claim.acked
        assert claim.retired_for
        assert queue.stats == {"done": 1, "busy_ms": 42}
        assert queue.waiting == [b"second"]

    def test_a_job_that_was_granted_is_granted_again(
        self, leases: Leases, queue: QueueState
    ) -> None:
        """Its reply was lost; whoever retires a pod sees that it holds a lease."""
        queue.push("first")
        first = claimed(leases, "1@pod-a-0", "1@pod-a")
        self.retire(queue, "pod-a")
        assert claimed(leases, "1@pod-a-0", "1@pod-a") == first


class TestIdle:
    def idle(self, queue: QueueState) -> tuple[str, int]:
        claim, since = queue.record("w")["idle"].split(" ")
        return claim, int(since)

    def test_a_worker_is_idle_since_it_first_found_nothing(
        self, leases: Leases, queue: QueueState
    ) -> None:
        before = queue.now_ms
        leases.claim("w", "w-0")
        claim, since = self.idle(queue)
        assert claim == "w-0"
        assert before <= since <= queue.now_ms
        eventually(lambda: queue.now_ms > since, "time to pass")
        leases.claim("w", "w-0")
        assert self.idle(queue) == (claim, since)

    def test_a_job_in_between_makes_it_idle_anew(self, leases: Leases, queue: QueueState) -> None:
        leases.claim("w", "w-0")
        _, since = self.idle(queue)
        eventually(lambda: queue.now_ms > since, "time to pass")
        queue.push("first")
        claimed(leases, "w-0")
        leases.claim("w", "w-1", finished=("w-0", 1))
        claim, later = self.idle(queue)
        assert claim == "w-1"
        assert later > since

    def test_a_busy_worker_writes_nothing_of_it(self, leases: Leases, queue: QueueState) -> None:
        queue.push("first", "second")
        claimed(leases, "w-0")
        leases.claim("w", "w-1", finished=("w-0", 1))
        assert queue.record("w") == {}

    def test_it_is_forgotten_with_the_worker(self, leases: Leases, queue: QueueState) -> None:
        leases.claim("w", "w-0")
        leases.leave("w")
        assert queue.record("w") == {}


class TestWait:
    def test_a_job_that_comes_while_waiting_lands(self, leases: Leases, queue: QueueState) -> None:
        assert not leases.wait("w", timedelta(milliseconds=20))
        queue.push("job")
        assert leases.wait("w", timedelta(seconds=1))
        assert queue.landed == [b"job"]

    def test_whoever_waits_is_known_to_the_reapers_first(
        self, leases: Leases, queue: QueueState
    ) -> None:
        leases.wait("w", timedelta(milliseconds=1))
        assert "w" in queue.members("workers")

    def test_a_wait_ends_before_the_worker_could_be_struck_off(
        self, server: RedisServer, queue: QueueState
    ) -> None:
        client = connect(RedisSettings(server.url, None, None, None), "test")
        short = Leases(client, keys_of(LIST), timedelta(milliseconds=200))
        with queue.client.monitor() as heard:
            assert not short.wait("w", timedelta(seconds=60))
            asked = next(said for said in commands(heard) if said.startswith("BLMOVE "))
        assert asked.endswith(" LEFT RIGHT 0.100")
        short.close()


def commands(monitor: Any) -> Iterator[str]:  # noqa: ANN401  redis-py does not type it
    """Return what Redis is asked, as it comes."""
    return (said["command"] for said in monitor.listen())


class TestFail:
    def test_a_failed_attempt_is_retried_later_with_its_reason(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY)
        _, first = timed(queue, lambda: claimed(leases))
        answer, then = timed(
            queue,
            lambda: leases.fail(
                "w-0",
                reason="Storage",
                sentence="disk\nfull",
                max_attempts=5,
                delay=timedelta(seconds=7),
            ),
        )
        assert answer == "retry"
        line, raw = queue.envelope("w-0")
        job_id, attempts, crashes, seen, reason, *sentence = line.split(" ")
        assert (job_id, attempts, crashes, reason) == ("w-0", "1", "0", "Storage")
        assert sentence == ["disk", "full"]
        assert int(seen) in first
        assert raw == BINARY
        assert queue.members("retry")["w-0"] - 7_000 in then
        assert queue.members("inflight") == {}
        assert queue.stats == {"failed": 1}

    def test_the_last_attempt_buries(self, leases: Leases, queue: QueueState) -> None:
        queue.push(BINARY)
        for attempt in range(3):
            lease = claimed(leases, f"w-{attempt}")
            assert (lease.attempts, lease.job_id) == (attempt, "w-0")
            answer = leases.fail(
                lease.name, reason="R", sentence="s", max_attempts=3, delay=timedelta()
            )
            assert answer == ("buried" if attempt == 2 else "retry")
        assert set(queue.members("dead")) == {"w-2"}
        assert queue.envelope("w-2")[0].startswith("w-0 3 0 ")
        assert queue.envelope("w-2")[1] == BINARY
        assert queue.stats == {"failed": 3, "dead": 1}
        assert queue.quiet

    def test_to_bury_needs_one_attempt_only(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases)
        assert leases.bury("w-0", reason="BadJson", sentence="no JSON") == "buried"
        assert set(queue.members("dead")) == {"w-0"}
        assert queue.envelope("w-0")[0].endswith("BadJson no JSON")

    def test_saying_it_twice_changes_nothing(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases)
        leases.fail("w-0", reason="R", sentence="", max_attempts=5, delay=timedelta(1))
        again = leases.fail("w-0", reason="R", sentence="", max_attempts=5, delay=timedelta(1))
        assert again == "lost"
        assert queue.stats == {"failed": 1}
        assert queue.envelope("w-0")[0].startswith("w-0 1 0")

    def test_a_hostile_sentence_does_not_break_the_envelope(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY)
        claimed(leases)
        sentence = "\ud800\x00%s%d\r\n9 9 9 9\n" + "x" * 5000
        leases.fail("w-0", reason="a b\n", sentence=sentence, max_attempts=5, delay=timedelta())
        assert claimed(leases, "w-1") == Lease("w-1", "w-0", 1, 0, BINARY)


class TestCrash:
    def test_a_crashed_job_is_due_at_once_and_poison_is_buried(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY)
        for crash in range(MAX_CRASHES):
            lease = claimed(leases, f"w-{crash}")
            assert lease == Lease(f"w-{crash}", "w-0", 0, crash, BINARY)
            answer = leases.crash(lease.name, reason="Crash", sentence="SIGSEGV")
            assert answer == ("buried" if crash == MAX_CRASHES - 1 else "retry")
        (dead,) = queue.members("dead")
        assert "Poison it crashed 3 workers; the last time: SIGSEGV" in queue.envelope(dead)[0]
        assert queue.stats == {"crashed": 3, "dead": 1}

    def test_crashes_and_failures_are_counted_apart(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("job")
        claimed(leases, "w-0")
        leases.crash("w-0", reason="Crash", sentence="")
        claimed(leases, "w-1")
        leases.fail("w-1", reason="R", sentence="", max_attempts=5, delay=timedelta())
        lease = claimed(leases, "w-2")
        assert (lease.attempts, lease.crashes) == (1, 1)
        assert queue.stats == {"crashed": 1, "failed": 1}

    def test_saying_it_twice_changes_nothing(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases)
        leases.crash("w-0", reason="Crash", sentence="")
        assert leases.crash("w-0", reason="Crash", sentence="") == "lost"
        assert queue.stats == {"crashed": 1}


class TestRelease:
    def test_a_job_without_a_history_goes_back_to_the_head_of_the_list(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY, "second")
        claimed(leases)
        assert leases.release("w-0") == "list"
        assert queue.waiting == [BINARY, b"second"]
        assert queue.jobs == 0
        assert queue.stats == {}
        assert leases.release("w-0") == "lost"
        assert queue.waiting == [BINARY, b"second"]

    def test_a_job_with_a_history_keeps_it_and_is_due_at_once(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("job")
        claimed(leases, "w-0")
        leases.crash("w-0", reason="Crash", sentence="")
        claimed(leases, "w-1")
        assert leases.release("w-1") == "retry"
        assert claimed(leases, "w-2") == Lease("w-2", "w-0", 0, 1, b"job")


class TestBeat:
    def test_it_renews_what_is_held_and_names_what_is_lost(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("job")
        claimed(leases)
        queue.client.zadd(queue.prefix + "inflight", {"w-0": queue.now_ms + 10})
        queue.client.zadd(queue.prefix + "workers", {"w": queue.now_ms + 10})
        leases.record("w", {"pod": "p"})
        beat, then = timed(queue, lambda: leases.beat(["w"], ["w-0", "w-gone"]))
        assert beat.lost == ("w-gone",)
        assert beat.now_ms in then
        assert queue.members("inflight")["w-0"] == beat.now_ms + LEASE_MS
        assert queue.members("workers")["w"] == beat.now_ms + LEASE_MS
        assert set(queue.members("inflight")) == {"w-0"}, "a lost lease is not revived"

    def test_it_rescues_a_lease_that_expired_but_was_not_reaped(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("job")
        claimed(leases)
        queue.expire("inflight", "w-0", 60_000)
        assert leases.beat(["w"], ["w-0"]).lost == ()
        assert leases.reap(blame_after_ms=0) == (0, 0)

    def test_it_never_brings_back_who_has_left(self, leases: Leases, queue: QueueState) -> None:
        leases.claim("w", "w-0")
        leases.leave("w")
        leases.beat(["w"], [])
        assert queue.members("workers") == {}

    def test_it_tells_what_there_is_to_reap(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases, "a-0", "a")
        queue.expire("inflight", "a-0")
        queue.expire("workers", "a")
        beat = leases.beat(["b"], [])
        assert (beat.expired_leases, beat.expired_workers) == (1, ("a",))

    def test_a_worker_without_work_can_beat(self, leases: Leases) -> None:
        assert leases.beat(["a", "b"], []).lost == ()


class TestReap:
    def test_an_expired_lease_is_due_again_and_counts_a_crash(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push(BINARY, "alive")
        claimed(leases, "a-0", "a")
        claimed(leases, "b-0", "b")
        queue.expire("inflight", "a-0")
        assert leases.reap(blame_after_ms=0) == (1, 0)
        assert set(queue.members("inflight")) == {"b-0"}
        assert claimed(leases, "c-0", "c") == Lease("c-0", "a-0", 0, 1, BINARY)

    def test_after_an_outage_nobody_is_blamed(self, leases: Leases, queue: QueueState) -> None:
        queue.push("job")
        claimed(leases, "a-0", "a")
        queue.expire("inflight", "a-0")
        assert leases.reap(blame_after_ms=queue.now_ms) == (1, 0)
        assert claimed(leases, "c-0", "c").crashes == 0
        assert queue.stats == {}

    def test_a_job_that_kills_whole_pods_is_found_out(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("poison")
        for pod in range(MAX_CRASHES):
            claimed(leases, f"{pod}-0", str(pod))
            queue.expire("inflight", f"{pod}-0")
            last = pod == MAX_CRASHES - 1
            assert leases.reap(blame_after_ms=0) == (1, int(last))
        assert queue.quiet
        assert "Poison" in queue.envelope("2-0")[0]

    def test_it_works_in_bounded_batches(self, leases: Leases, queue: QueueState) -> None:
        for number in range(60):
            queue.push(str(number))
            claimed(leases, f"w-{number}")
            queue.expire("inflight", f"w-{number}")
        assert leases.reap(blame_after_ms=0) == (50, 0)
        assert leases.reap(blame_after_ms=0) == (10, 0)
        assert len(queue.members("retry")) == 60

    def test_a_lease_whose_job_is_gone_is_struck_off(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.client.zadd(queue.prefix + "inflight", {"ghost": 1})
        assert leases.reap(blame_after_ms=0) == (1, 0)
        assert queue.members("inflight") == {}

    def test_an_envelope_nobody_can_read_is_kept_among_the_dead(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.client.zadd(queue.prefix + "inflight", {"odd": 1})
        queue.client.hset(queue.prefix + "jobs", "odd", "no envelope at all")
        assert leases.reap(blame_after_ms=0) == (1, 1)
        assert set(queue.members("dead")) == {"odd"}
        assert queue.client.hget(queue.prefix + "jobs", "odd") == b"no envelope at all"


class TestLanding:
    """No job in it depends on the worker whom it woke."""

    def test_whoever_claims_next_takes_what_woke_a_worker_that_died(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2")
        assert leases.wait("a", timedelta(seconds=1))
        assert claimed(leases, "b-0", "b").raw == b"1"
        assert claimed(leases, "b-1", "b").raw == b"2"
        assert claimed_nothing(leases, "a-0", "a")

    def test_a_block_that_redis_only_reads_after_its_worker_was_struck_off_loses_nothing(
        self, server: RedisServer, leases: Leases, queue: QueueState
    ) -> None:
        leases.claim("a", "a-0")
        queue.expire("workers", "a")
        assert leases.strike("a")
        queue.push("1")
        # The second half of the write that enlisted it, delayed by the network for a lease.
        with redis.Redis.from_url(server.url) as late:
            late.blmove(queue.list, f"{queue.prefix}landing", 1, "LEFT", "RIGHT")
        assert queue.members("workers") == {}, "nobody knows of the worker"
        assert claimed(leases, "b-0", "b").raw == b"1"

    def test_jobs_stay_in_the_order_in_which_they_were_pushed(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2", "3", "4")
        for worker in ("a", "b", "c"):
            assert leases.wait(worker, timedelta(seconds=1))
        assert queue.landed == [b"1", b"2", b"3"]
        assert [claimed(leases, f"d-{n}", "d").raw for n in range(4)] == [b"1", b"2", b"3", b"4"]

    def test_who_leaves_puts_it_where_it_wakes_others(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2", "3")
        for worker in ("a", "b"):
            assert leases.wait(worker, timedelta(seconds=1))
        leases.leave("a")
        assert queue.waiting == [b"1", b"2", b"3"]
        assert queue.landed == []


class TestStrike:
    def test_a_silent_worker_is_forgotten(self, leases: Leases, queue: QueueState) -> None:
        leases.claim("a", "a-0")
        leases.record("a", {"pod": "p"})
        queue.expire("workers", "a")
        assert leases.strike("a")
        assert queue.members("workers") == {}
        assert queue.record("a") == {}

    def test_who_lives_stays(self, leases: Leases, queue: QueueState) -> None:
        leases.claim("a", "a-0")
        assert not leases.strike("a")
        assert "a" in queue.members("workers")

    def test_a_worker_who_wakes_after_being_struck_off_just_goes_on(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1")
        leases.claim("a", "a-0")
        queue.expire("workers", "a")
        leases.strike("a")
        queue.push("2")
        assert leases.wait("a", timedelta(seconds=1))
        assert claimed(leases, "a-1", "a").raw == b"2"
        assert "a" in queue.members("workers")


class TestLeave:
    def test_a_goodbye_leaves_nothing_behind(self, leases: Leases, queue: QueueState) -> None:
        queue.push("1", "2", "3")
        claimed(leases)
        leases.wait("w", timedelta(seconds=1))
        leases.record("w", {"pod": "p"})
        assert leases.leave("w", ("w-0", 7))
        assert queue.waiting == [b"2", b"3"]
        assert queue.members("workers") == {}
        assert queue.members("inflight") == {}
        assert queue.record("w") == {}
        assert queue.stats == {"done": 1, "busy_ms": 7}
        assert not leases.leave("w", ("w-0", 7))
        assert queue.stats == {"done": 1, "busy_ms": 7}


class TestRecord:
    def test_a_worker_tells_what_it_is_and_is_forgotten_in_time(
        self, leases: Leases, queue: QueueState
    ) -> None:
        leases.record("w", {"pod": "images-1", "cpu": "3"})
        assert queue.record("w") == {"pod": "images-1", "cpu": "3"}
        ttl = queue.client.pttl(f"{queue.prefix}worker:w")
        assert 500_000 < ttl <= 600_000
        queue.client.pexpire(f"{queue.prefix}worker:w", 100_000)
        leases.beat(["w"], [])
        assert queue.client.pttl(f"{queue.prefix}worker:w") > 500_000


def test_every_key_is_the_lists_neighbour(leases: Leases, queue: QueueState) -> None:
    queue.push("a", "b", "c", "{")
    claimed(leases, "w-0")
    leases.crash("w-0", reason="", sentence="")
    claimed(leases, "w-1")
    leases.bury("w-1", reason="", sentence="")
    leases.record("w", {"a": "b"})
    leases.wait("w", timedelta(seconds=1))
    keys = {key.decode() for key in queue.client.scan_iter()}
    assert {key for key in keys if not key.startswith("{queue:images}:")} == {LIST}


def test_a_list_with_its_own_tag_works_the_same(server: RedisServer, client: redis.Redis) -> None:
    name = "q:{eu}:images"
    queue = QueueState(client, name, f"{name}:")
    connection = connect(RedisSettings(server.unix_url, None, None, None), "test")
    leases = Leases(connection, keys_of(name), LEASE)
    queue.push("job")
    assert claimed(leases).raw == b"job"
    assert set(queue.members("inflight")) == {"w-0"}
    leases.close()


def test_the_server_says_since_when_it_runs(leases: Leases, queue: QueueState) -> None:
    started = leases.server_started_ms(queue.now_ms)
    assert started is not None
    assert -1_000 < queue.now_ms - started < 3_600_000


class TestTrouble:
    def test_a_full_redis_still_gives_out_and_takes_back_every_job(
        self, leases: Leases, queue: QueueState
    ) -> None:
        for number in range(4):
            queue.push(str(number))
        queue.client.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                queue.client.rpush("other", "x")
            claimed(leases, "w-0")
            assert leases.claim("w", "w-1", finished=("w-0", 1)).acked
            leases.fail("w-1", reason="R", sentence="", max_attempts=5, delay=timedelta())
            claimed(leases, "w-2")
            leases.crash("w-2", reason="C", sentence="")
            claimed(leases, "w-3")
            leases.release("w-3")
            leases.record("w", {"pod": "p"})
            leases.beat(["w"], [])
            claimed(leases, "w-4")
            queue.expire_by_script("inflight", "w-4")
            leases.reap(blame_after_ms=0)
            leases.leave("w")
            with pytest.raises(QueueUnavailable) as caught:
                leases.wait("w", timedelta(seconds=1))
            assert caught.value.reason == "OOM"
        finally:
            queue.client.config_set("maxmemory", "0")

    def test_a_script_cache_that_was_flushed_is_filled_again(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2")
        claimed(leases, "w-0")
        queue.client.script_flush()
        claimed(leases, "w-1")

    def test_a_read_only_server_is_named_and_the_connection_dropped(
        self, leases: Leases, queue: QueueState
    ) -> None:
        leases.beat(["w"], [])

        def connected() -> bool:
            return "test" in {entry["name"] for entry in queue.client.client_list()}

        assert connected()
        queue.client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(QueueUnavailable) as caught:
                leases.claim("w", "w-0")
            assert caught.value.reason in {"READONLY", "MASTERDOWN"}
            # A failover's next master is found by reconnecting.
            eventually(lambda: not connected(), "the connection to be dropped")
        finally:
            queue.client.replicaof("NO", "ONE")
        leases.claim("w", "w-0")

    def test_a_list_of_the_wrong_type_is_trouble_not_a_bug(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.client.set(LIST, "a string")
        with pytest.raises(QueueUnavailable) as caught:
            leases.claim("w", "w-0")
        assert caught.value.reason in {"WRONGTYPE", "ERR"}

    def test_a_server_that_is_away_is_unreachable(self) -> None:
        settings = RedisSettings("redis://127.0.0.1:1/0", None, None, None)
        leases = Leases(connect(settings, "test"), keys_of(LIST), LEASE)
        with pytest.raises(QueueUnavailable) as caught:
            leases.claim("w", "w-0")
        assert caught.value.reason == "Unreachable"

    def test_a_wrong_password_is_trouble_that_may_pass(self, server: RedisServer) -> None:
        settings = RedisSettings(server.url, "nobody", "wrong", None)
        leases = Leases(connect(settings, "test"), keys_of(LIST), LEASE)
        with pytest.raises(QueueUnavailable) as caught:
            leases.claim("w", "w-0")
        assert caught.value.reason == "WRONGPASS"


PROTOCOL = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


def documented_rule() -> list[str]:
    """Return the ACL rule of docs/protocol.md, from the key patterns on."""
    rule = PROTOCOL.split("ACL SETUSER worker on >… ")[1].split("\n\n")[0]
    return rule.split()


def test_the_documented_rights_are_enough(server: RedisServer, queue: QueueState) -> None:
    rule = documented_rule()
    assert "~queue:images" in rule
    queue.client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", *rule)
    settings = RedisSettings(server.url, "worker", "secret", None)
    leases = Leases(connect(settings, "test"), keys_of(LIST), LEASE)
    try:
        queue.push("1", "2", "3", "4", "5")
        assert leases.wait("w", timedelta(seconds=1))
        claimed(leases, "w-0")
        leases.fail("w-0", reason="R", sentence="", max_attempts=1, delay=timedelta())
        claimed(leases, "w-1")
        leases.crash("w-1", reason="R", sentence="")
        claimed(leases, "w-2")
        leases.release("w-2")
        claimed(leases, "w-3")
        leases.record("w", {"pod": "p"})
        leases.admit("w-3", job_id="a", not_before_ms=0)
        leases.finish(("lost", 0), job_id="a", kept=timedelta(1))
        leases.beat(["w"], ["w-3"])
        queue.expire("inflight", "w-3")
        leases.reap(blame_after_ms=0)
        queue.expire("workers", "w")
        assert leases.strike("w")
        leases.leave("w")
        assert leases.server_started_ms(1) is not None
        assert "`+rpush +ltrim` for results" in PROTOCOL
        queue.client.execute_command("ACL", "SETUSER", "worker", "+rpush", "+ltrim")
        telling = Leases(connect(settings, "test"), keys_of(LIST), LEASE, results_kept=3)
        assert telling.claim("w", "w-4").lease
        assert telling.leave("w", ("w-4", 1), "what came of it")
        assert queue.client.lrange(f"{queue.prefix}results", 0, -1) == [b"what came of it"]
        telling.close()
    finally:
        leases.close()
        queue.client.execute_command("ACL", "DELUSER", "worker")


COMMANDS = [word for word in documented_rule() if word.startswith("+") and "|" not in word]


@pytest.mark.parametrize("missing", COMMANDS)
def test_a_script_that_fails_half_way_loses_no_job(
    server: RedisServer, queue: QueueState, missing: str
) -> None:
    """Redis takes nothing back of what a script had done before a command was refused."""
    every = [str(number) for number in range(6)]
    queue.push(*every)
    admin = Leases(connect(RedisSettings(server.url, None, None, None), "t"), keys_of(LIST), LEASE)
    held = [claimed(admin, f"w-{number}") for number in range(3)]
    queue.expire("inflight", "w-2")
    rule = [*documented_rule(), missing.replace("+", "-", 1)]
    queue.client.execute_command("ACL", "SETUSER", "poor", "on", ">secret", *rule)
    settings = RedisSettings(server.url, "poor", "secret", None)
    poor = Leases(connect(settings, "t"), keys_of(LIST), LEASE)
    calls: list[Callable[[], object]] = [
        lambda: poor.claim("w", "w-3"),
        lambda: poor.claim("w", "w-3"),
        lambda: poor.fail("w-0", reason="R", sentence="", max_attempts=5, delay=timedelta()),
        lambda: poor.release("w-1"),
        lambda: poor.crash("w-1", reason="R", sentence=""),
        lambda: poor.reap(blame_after_ms=0),
        lambda: poor.admit("w-3", job_id=None, not_before_ms=1 << 41),
        lambda: poor.claim("w", "w-4", retries_first=True),
        lambda: poor.leave("w"),
    ]
    assert len(held) == 3
    for call in calls:
        with suppress(QueueUnavailable):
            call()
    poor.close()
    admin.close()
    assert {raw.decode() for raw in everywhere(queue)} == set(every)
    queue.client.execute_command("ACL", "DELUSER", "poor")


def everywhere(queue: QueueState) -> Iterator[bytes]:
    """Find the payloads of all jobs that somebody would come upon."""
    yield from queue.client.lrange(LIST, 0, -1)
    yield from queue.client.lrange(f"{queue.prefix}landing", 0, -1)
    for kind in ("inflight", "retry", "dead"):
        for lease in queue.members(kind):
            envelope = queue.client.hget(f"{queue.prefix}jobs", lease)
            if envelope is not None:
                yield envelope.partition(b"\n")[2]
