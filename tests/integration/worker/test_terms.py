"""Jobs that ask for a time or to be done once: each call, and the whole worker."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from image_worker.keys import keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from support import planned_supervisor
from support.gate import Gate
from support.lossy_proxy import LossyProxy
from support.pictures import jpeg
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually

KEPT = timedelta(hours=24)


@pytest.fixture
def leases(server: RedisServer, client: redis.Redis) -> Iterator[Leases]:
    assert client.ping()
    settings = RedisSettings(server.url, None, None, None)
    made = Leases(connect(settings, "test"), keys_of(LIST), timedelta(seconds=15))
    yield made
    made.close()


def claimed(leases: Leases, *tokens: str) -> None:
    for token in tokens:
        assert leases.claim("w", token).lease is not None


def admitted(leases: Leases, lease: str, job_id: str | None = "a", at: int | None = None) -> str:
    return leases.admit(lease, job_id=job_id, not_before_ms=at)


class TestAdmit:
    def test_a_time_to_come_is_waited_for_without_counting(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1")
        claimed(leases, "w-0")
        due = queue.now_ms + 3_600_000
        assert admitted(leases, "w-0", None, due) == "early"
        assert queue.members("retry") == {"w-0": due}
        assert queue.envelope("w-0")[0].startswith("w-0 0 0 ")
        assert (queue.stats, queue.members("inflight")) == ({}, {})
        assert admitted(leases, "w-0", None, due) == "lost", "said twice"

    def test_a_time_gone_by_is_no_obstacle(self, leases: Leases, queue: QueueState) -> None:
        queue.push("1")
        claimed(leases, "w-0")
        assert admitted(leases, "w-0", None, queue.now_ms) == "go"
        assert set(queue.members("inflight")) == {"w-0"}

    def test_of_two_with_one_id_the_second_waits_for_the_first(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2", "other")
        claimed(leases, "w-0", "w-1", "w-2")
        assert admitted(leases, "w-0") == "go"
        assert admitted(leases, "w-0") == "go", "asked again: the answer was lost"
        before = queue.now_ms
        assert admitted(leases, "w-1") == "twin"
        after = queue.now_ms
        assert admitted(leases, "w-2", "b") == "go"
        assert before <= queue.members("retry")["w-1"] - 5_000 <= after

    def test_what_was_done_is_forgotten_and_counted(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2")
        claimed(leases, "w-0", "w-1")
        admitted(leases, "w-0")
        assert leases.finish(("w-0", 7), job_id="a", kept=KEPT)
        assert not leases.finish(("w-0", 7), job_id="a", kept=KEPT), "said twice"
        assert admitted(leases, "w-1") == "duplicate"
        assert admitted(leases, "w-1") == "lost", "said twice"
        assert queue.quiet
        assert queue.jobs == 0
        assert queue.stats == {"done": 1, "busy_ms": 7, "duplicate": 1}

    def test_an_id_is_remembered_for_its_time_only(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1", "2")
        claimed(leases, "w-0", "w-1")
        admitted(leases, "w-0")
        leases.finish(("w-0", 7), job_id="a", kept=KEPT)
        memory = f"{queue.prefix}id:a"
        assert 86_000_000 < queue.client.pttl(memory) <= 86_400_000
        queue.client.pexpire(memory, 1)
        eventually(lambda: not queue.client.exists(memory), "it to be forgotten")
        assert admitted(leases, "w-1") == "go"

    @pytest.mark.parametrize("end", ["fail", "crash", "release", "silence", "burial"])
    def test_an_id_whose_job_was_not_done_is_free(
        self, leases: Leases, queue: QueueState, end: str
    ) -> None:
        queue.push("1", "2")
        claimed(leases, "w-0")
        admitted(leases, "w-0")
        match end:
            case "fail":
                later = timedelta(hours=1)
                leases.fail("w-0", reason="R", sentence="", max_attempts=9, delay=later)
            case "crash":
                leases.crash("w-0", reason="R", sentence="")
            case "release":
                leases.release("w-0")
            case "burial":
                leases.bury("w-0", reason="R", sentence="")
            case _:
                queue.expire("inflight", "w-0")
                leases.reap(blame_after_ms=0)
        claimed(leases, "w-1")
        assert admitted(leases, "w-1") == "go"

    def test_who_lost_its_lease_cannot_say_that_it_was_done(
        self, leases: Leases, queue: QueueState
    ) -> None:
        queue.push("1")
        claimed(leases, "w-0")
        admitted(leases, "w-0")
        queue.expire("inflight", "w-0")
        leases.reap(blame_after_ms=0)
        claimed(leases, "w-1")
        assert admitted(leases, "w-1") == "go"
        assert not leases.finish(("w-0", 7), job_id="a", kept=KEPT)
        assert leases.finish(("w-1", 7), job_id="a", kept=KEPT)
        assert queue.stats["done"] == 1


def job(filename: str, **fields: object) -> str:
    return json.dumps({"filename": filename, **fields})


def planned(url: str, folder: Path, **variables: str) -> Supervisor:
    return Supervisor(url, folder, command=planned_supervisor.COMMAND, **variables)


def settled(queue: QueueState, **stats: int) -> bool:
    seen = {name: count for name, count in queue.stats.items() if name != "busy_ms"}
    return queue.quiet and seen == stats


def test_a_job_is_not_done_before_its_time(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        now = time.time()
        soon, later = now + 2, int(now) + 3600
        queue.push(
            job("later.jpg", plan="noop", notBefore=later),
            job("soon.jpg", plan="noop", notBefore=soon),
            job("now.jpg", plan="noop"),
        )
        supervisor.await_line(filename="soon.jpg", outcome="done")
        assert time.time() >= soon
        supervisor.await_line(filename="now.jpg", outcome="done")
        supervisor.await_line(outcome="early")
        eventually(lambda: queue.stats.get("done") == 2, lambda: f"both: {queue.stats}")
        assert list(queue.members("retry").values()) == [later * 1000]
    assert queue.jobs == 1


def test_bad_terms_are_buried_with_a_reason(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server.url, tmp_path):
        queue.push(job("a.jpg", notBefore="soon"), job("b.jpg", id=[]))
        eventually(lambda: len(queue.members("dead")) == 2, lambda: f"burials: {queue.stats}")
    reasons = {queue.envelope(lease)[0].split(" ")[4] for lease in queue.members("dead")}
    assert reasons == {"BadNotBefore", "BadId"}


def test_a_job_that_is_pushed_again_is_done_once(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server.url, tmp_path) as supervisor:
        once = job("a.jpg", plan="noop", id="upload-7", other={"kept": True})
        queue.push(once, once, job("b.jpg", plan="noop"), once)
        eventually(lambda: settled(queue, done=2, duplicate=2), lambda: f"{queue.stats}")
        supervisor.await_metric('image_worker_jobs_total{outcome="done"}', 2)
        supervisor.await_metric('image_worker_jobs_total{outcome="duplicate"}', 2)
        assert supervisor.metric("image_worker_leases_lost_total") == 0
        assert supervisor.terminate() == 0
    assert queue.jobs == 0


def test_two_workers_never_do_one_id_at_once(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg())
    gate = Gate(tmp_path)
    # Neither of them is held up for so long that the other takes its job over.
    long = {"lease_seconds": "60"}
    with (
        planned(server.url, tmp_path, **long) as one,
        planned(server.url, tmp_path, **long) as two,
    ):

        def told(outcome: str) -> list[float]:
            counter = f'image_worker_jobs_total{{outcome="{outcome}"}}'
            return sorted(supervisor.metric(counter) for supervisor in (one, two))

        one.await_ready()
        two.await_ready()
        queue.push(*[job("a.jpg", plan=gate.plan, id="7")] * 2)
        gate.await_begun()
        eventually(lambda: sum(told("twin")), "the other job to be looked at")
        gate.open()
        eventually(lambda: settled(queue, done=1, duplicate=1), lambda: f"{queue.stats}")
        eventually(lambda: told("done") == [0, 1], lambda: f"one of them: {told('done')}")


def test_with_no_memory_ids_mean_nothing(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server.url, tmp_path, ids_kept_seconds="0"):
        queue.push(*[job("a.jpg", plan="noop", id="7")] * 3)
        eventually(lambda: settled(queue, done=3), lambda: f"{queue.stats}")
    assert not list(queue.client.scan_iter(f"{queue.prefix}id:*"))


@pytest.mark.parametrize("call", ["admit", "finish"])
def test_a_lost_answer_changes_nothing(
    server: RedisServer, queue: QueueState, tmp_path: Path, call: str
) -> None:
    with LossyProxy(server.url) as proxy, planned(proxy.url, tmp_path) as supervisor:
        queue.push(job("a.jpg", plan="noop", id="1"))
        eventually(lambda: settled(queue, done=1), "a first job: the scripts are known")
        words = {"admit": b"id:2", "finish": b"\r\n86400000\r\n"}[call]
        proxy.lose_answer_to(words)
        queue.push(*[job("a.jpg", plan="noop", id="2")] * 2)
        assert proxy.lost.wait(60)
        eventually(lambda: settled(queue, done=2, duplicate=1), lambda: f"{queue.stats}")
        assert supervisor.metric("image_worker_leases_lost_total") == 0
        assert supervisor.terminate() == 0
