"""One worker for several queues: its turns, its waits, its goodbyes, and queues on other nodes."""

import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from image_worker.errors import QueueUnavailable
from image_worker.job import MAX_PAYLOAD_BYTES
from image_worker.keys import keys_of, served
from image_worker.lane import REST_SECONDS
from image_worker.leases import NOTHING_FINISHED, Leases, script
from image_worker.link import connect
from image_worker.queues import Queues
from image_worker.settings import RedisSettings
from support import planned_supervisor
from support.gate import Gate
from support.lossy_proxy import LossyProxy
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_cluster import RedisCluster
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually

URGENT, CALM = "queue:urgent", "queue:calm"
LEASE = timedelta(seconds=15)
SELECTS_MOST = 1024
WEIGHTS = f"{URGENT}=3,{CALM}=1"


def state(client: redis.Redis, name: str) -> QueueState:
    return QueueState(client, name, f"{{{name}}}:")


@pytest.fixture
def urgent(client: redis.Redis) -> QueueState:
    return state(client, URGENT)


@pytest.fixture
def calm(client: redis.Redis) -> QueueState:
    return state(client, CALM)


def leases_of(url: str, name: str) -> Leases:
    return Leases(connect(RedisSettings(url, None, None, None), "test"), keys_of(name), LEASE)


@pytest.fixture
def queues(server: RedisServer, client: redis.Redis) -> Iterator[Queues]:
    assert client.ping()
    made = Queues(
        [(leases_of(server.url, URGENT), 3), (leases_of(server.url, CALM), 1)],
        clock=time.monotonic,
    )
    yield made
    made.close()


def done_in_turn(queues: Queues, count: int) -> str:
    """Claim and acknowledge jobs; return the first letters of their payloads."""
    finished, letters = NOTHING_FINISHED, ""
    for _ in range(count):
        claim = queues.claim("w", "", finished=finished)
        assert claim.lease is not None
        assert claim.acked or finished == NOTHING_FINISHED
        letters += claim.lease.raw[:1].decode()
        finished = (claim.lease.name, 1)
    assert queues.leave("w", finished)
    return letters


class TestTurns:
    def test_jobs_are_taken_by_weight(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        urgent.push(*["u"] * 100)
        calm.push(*["c"] * 100)
        letters = done_in_turn(queues, 40)
        assert Counter(letters) == {"u": 30, "c": 10}
        assert "cc" not in letters
        assert "uuuuu" not in letters, "and not in bursts"
        assert (urgent.stats["done"], calm.stats["done"]) == (30, 10)
        assert urgent.quiet is calm.quiet is False
        assert urgent.jobs == calm.jobs == 0

    def test_a_queue_that_was_empty_has_saved_nothing_up(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        calm.push(*["c"] * 100)
        assert done_in_turn(queues, 40) == "c" * 40
        urgent.push(*["u"] * 100)
        assert 4 <= done_in_turn(queues, 20).count("c") <= 5, "not 20 jobs of the other first"

    def test_nothing_anywhere_says_when_the_next_retry_is_due(
        self, queues: Queues, calm: QueueState
    ) -> None:
        assert queues.claim("w", "").due_in is None
        calm.client.zadd(calm.prefix + "retry", {"x": calm.now_ms + 3_600_000})
        due_in = queues.claim("w", "").due_in
        assert due_in is not None
        assert timedelta(minutes=59) < due_in <= timedelta(hours=1)

    @pytest.mark.parametrize("name", [URGENT, CALM])
    def test_every_verdict_reaches_the_queue_of_its_job(
        self, queues: Queues, client: redis.Redis, name: str
    ) -> None:
        queue = state(client, name)
        queue.push("1", "2", "3", "4", "5")
        jobs = [queues.claim("w", "").lease for _ in range(5)]
        first, second, third, fourth, fifth = [lease.name for lease in jobs if lease is not None]
        later = timedelta(hours=1)
        assert queues.fail(first, reason="R", sentence="", max_attempts=2, delay=later) == "retry"
        assert queues.crash(second, reason="R", sentence="") == "retry"
        assert queues.bury(third, reason="R", sentence="") == "buried"
        assert queues.release(fourth) == "list"
        assert queues.admit(fifth, job_id="a", not_before_ms=None) == "go"
        assert queues.finish((fifth, 1), job_id="a", kept=later)
        assert queue.members("inflight") == {}
        assert queue.waiting == [b"4"]

    def test_an_envelope_nobody_can_read_stops_neither_its_queue_nor_another(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        urgent.client.zadd(urgent.prefix + "retry", {"odd": 1})
        urgent.client.hset(urgent.prefix + "jobs", "odd", "no envelope at all")
        urgent.push("u")
        calm.push("c")
        assert sorted(done_in_turn(queues, 2)) == ["c", "u"]
        assert len(urgent.members("dead")) == 1

    def test_jobs_that_are_too_long_are_told_of_all_queues_together(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        too_long = b" " * (MAX_PAYLOAD_BYTES + 1)
        urgent.push(too_long)
        calm.push(too_long, too_long)
        assert queues.claim("w", "").refused == 3
        urgent.push(too_long)
        calm.push("c")
        claim = queues.claim("w", "")
        assert claim.lease is not None
        assert claim.refused == 1


class TestWait:
    @pytest.mark.parametrize("name", [URGENT, CALM])
    def test_a_job_of_any_queue_ends_it(
        self, queues: Queues, client: redis.Redis, name: str
    ) -> None:
        assert not queues.wait("w", timedelta(milliseconds=20))
        queue = state(client, name)
        queue.push("job")
        assert queues.wait("w", timedelta(seconds=2))
        claim = queues.claim("w", "")
        assert claim.lease is not None
        assert claim.lease.raw == b"job"

    def test_who_was_woken_no_longer_stands_in_the_way_of_others(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        urgent.push("job")
        assert queues.wait("w", timedelta(seconds=2))
        eventually(lambda: urgent.client.info("clients")["blocked_clients"] == 0, "nobody blocked")
        calm.push("another")
        assert calm.waiting == [b"another"], "not landed with somebody busy"

    def test_the_queue_that_woke_is_asked_first(
        self, queues: Queues, urgent: QueueState, calm: QueueState
    ) -> None:
        calm.push("woke")
        assert queues.wait("w", timedelta(seconds=2))
        urgent.push("came later")
        lease = queues.claim("w", "").lease
        assert lease is not None
        assert lease.raw == b"woke"

    def test_it_does_not_matter_how_many_files_are_open(
        self, queues: Queues, urgent: QueueState
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * SELECTS_MOST), hard))
        with ExitStack() as stack:
            for _ in range(SELECTS_MOST):
                stack.enter_context(Path(os.devnull).open())
            urgent.push("job")
            assert queues.wait("w", timedelta(seconds=2))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_a_full_redis_is_named(self, queues: Queues, urgent: QueueState) -> None:
        urgent.client.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(QueueUnavailable) as caught:
                queues.wait("w", timedelta(seconds=1))
            assert caught.value.reason == "OOM"
            assert queues.claim("w", "").lease is None
        finally:
            urgent.client.config_set("maxmemory", "0")


class TestTrouble:
    def test_one_that_is_away_does_not_stop_the_others(
        self, server: RedisServer, calm: QueueState
    ) -> None:
        away = leases_of("redis://127.0.0.1:1/0", URGENT)
        queues = Queues([(away, 3), (leases_of(server.url, CALM), 1)], clock=time.monotonic)
        calm.push("1", "2")
        for number in (b"1", b"2"):
            claim = queues.claim("w", "")
            assert claim.lease is not None
            assert claim.lease.raw == number
        assert not queues.wait("w", timedelta(milliseconds=20))
        queues.close()

    def test_with_all_away_it_is_trouble(self) -> None:
        away = [(leases_of("redis://127.0.0.1:1/0", name), 1) for name in (URGENT, CALM)]
        queues = Queues(away, clock=time.monotonic)
        for call in (
            lambda: queues.claim("w", ""),
            lambda: queues.wait("w", timedelta(seconds=1)),
            lambda: queues.leave("w"),
        ):
            with pytest.raises(QueueUnavailable):
                call()

    def test_a_claim_that_was_not_answered_is_repeated_with_its_name(
        self, server: RedisServer, urgent: QueueState, calm: QueueState
    ) -> None:
        first = leases_of(server.url, URGENT)
        queues = Queues([(first, 1), (leases_of(server.url, CALM), 1)], clock=time.monotonic)
        granted = first.claim("w", "w-0").lease
        assert granted is None
        urgent.push("1")
        calm.push("2")
        with server.frozen(), pytest.raises(QueueUnavailable):
            queues.claim("w", "")
        assert queues.unanswered("w") == ["w-0"], "one silence is enough for one call"
        seen = set()

        def both_were_seen() -> bool:
            lease = queues.claim("w", "").lease
            seen.add(lease and lease.raw)
            return {b"1", b"2"} <= seen

        eventually(both_were_seen, lambda: f"both jobs: {seen}")
        assert queues.unanswered("w") == []
        assert len(urgent.members("inflight")) == len(calm.members("inflight")) == 1
        queues.close()


@pytest.fixture
def other() -> Iterator[RedisServer]:
    """A Redis that can be away, and forgets nothing."""
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as running:
        yield running


class TestWhatBecameOfAJobOfAQueueThatIsAway:
    """`urgent` is on the other server; of `calm` there are jobs all the time."""

    @pytest.fixture
    def far(self, other: RedisServer) -> QueueState:
        return state(other.client(), URGENT)

    @pytest.fixture
    def apart(
        self, server: RedisServer, other: RedisServer, far: QueueState, calm: QueueState
    ) -> Iterator[Queues]:
        lanes = [(leases_of(other.url, URGENT), 100), (leases_of(server.url, CALM), 1)]
        made = Queues(lanes, clock=time.monotonic)
        far.push("far")
        calm.push(*["near"] * 1000)
        yield made
        made.close()

    def claimed(self, queues: Queues) -> str:
        lease = queues.claim("w", "").lease
        assert lease is not None
        assert lease.raw == b"far"
        return lease.name

    def until_told(self, queues: Queues) -> None:
        """Do jobs of the near queue until the far one has been told."""
        finished = NOTHING_FINISHED

        def told() -> bool:
            nonlocal finished
            claim = queues.claim("w", "", finished=finished)
            assert claim.lease is not None
            assert claim.lease.raw == b"near"
            finished = (claim.lease.name, 1)
            return not queues.owing

        eventually(told, "the far queue was told")

    def test_an_acknowledgement_is_kept_and_the_lease_renewed(
        self, apart: Queues, other: RedisServer, far: QueueState, calm: QueueState
    ) -> None:
        lease = self.claimed(apart)
        other.kill()
        claim = apart.claim("w", "", finished=(lease, 5))
        for _ in range(10):
            assert claim.lease is not None
            assert claim.lease.raw == b"near"
            claim = apart.claim("w", "", finished=(claim.lease.name, 1))
        assert apart.owing
        assert lease in apart.unanswered("w"), "for the heart to renew"
        assert calm.stats["done"] == 10
        other.start()
        assert far.stats == {}
        self.until_told(apart)
        assert far.stats == {"done": 1, "busy_ms": 5}
        assert far.quiet
        assert lease not in apart.unanswered("w")

    @pytest.mark.parametrize("verdict", ["fail", "bury", "crash", "release", "finish"])
    def test_every_other_verdict_is_kept_too(
        self, apart: Queues, other: RedisServer, far: QueueState, verdict: str
    ) -> None:
        lease = self.claimed(apart)
        said, later = {"reason": "R", "sentence": ""}, timedelta(hours=1)
        calls: dict[str, Callable[[], object]] = {
            "fail": lambda: apart.fail(lease, max_attempts=2, delay=later, **said),
            "bury": lambda: apart.bury(lease, **said),
            "crash": lambda: apart.crash(lease, **said),
            "release": lambda: apart.release(lease),
            "finish": lambda: apart.finish((lease, 1), job_id="a", kept=later),
        }
        other.kill()
        assert calls[verdict]() in {"kept", True}
        other.start()
        assert lease in far.members("inflight")
        if verdict in {"crash", "release"}:  # it is due at once
            eventually(lambda: apart.claim("w", "").lease and not apart.owing, "told")
        else:
            self.until_told(apart)
        assert lease not in far.members("inflight")
        counted = {"fail": "failed", "bury": "dead", "crash": "crashed", "finish": "done"}
        if verdict in counted:
            assert far.stats[counted[verdict]] == 1

    def test_a_job_whose_terms_could_not_be_asked_goes_back(
        self, apart: Queues, other: RedisServer, far: QueueState
    ) -> None:
        lease = self.claimed(apart)
        other.kill()
        assert apart.admit(lease, job_id="a", not_before_ms=None) == "away"
        assert apart.owing
        other.start()
        eventually(lambda: apart.claim("w", "").lease and not apart.owing, "told")
        assert lease not in far.members("inflight")
        assert far.stats == {}

    def test_a_lease_that_others_took_over_meanwhile_decides(
        self, apart: Queues, other: RedisServer, far: QueueState
    ) -> None:
        lease = self.claimed(apart)
        other.kill()
        apart.claim("w", "", finished=(lease, 5))
        other.start()
        far.expire("inflight", lease)
        leases = leases_of(other.url, URGENT)
        leases.reap(blame_after_ms=0)
        assert leases.claim("v", "v-0").lease is not None
        leases.close()
        self.until_told(apart)
        assert "done" not in far.stats
        assert list(far.members("inflight")) == ["v-0"]

    def test_a_goodbye_tells_it(self, apart: Queues, other: RedisServer, far: QueueState) -> None:
        lease = self.claimed(apart)
        other.kill()
        apart.claim("w", "", finished=(lease, 5))
        with pytest.raises(QueueUnavailable):
            apart.leave("w")
        assert apart.owing
        other.start()
        apart.leave("w")
        assert not apart.owing
        assert far.stats["done"] == 1

    def test_a_queue_that_refuses_to_be_read_holds_up_no_other_and_wakes_nobody_in_vain(
        self, server: RedisServer, urgent: QueueState, calm: QueueState
    ) -> None:
        lanes = [(leases_of(server.url, URGENT), 3), (leases_of(server.url, CALM), 1)]
        queues = Queues(lanes, clock=lambda: 0.0)  # so that it is left alone until the end
        urgent.client.set(URGENT, "no list")
        calm.push("1")
        lease = queues.claim("w", "").lease
        assert lease is not None
        assert lease.raw == b"1"
        started = time.monotonic()
        claim = queues.claim("w", "", finished=(lease.name, 1))
        assert claim.lease is None
        assert claim.due_in == timedelta(seconds=REST_SECONDS), "the broken queue is asked again"
        assert not queues.wait("w", timedelta(milliseconds=300))
        assert time.monotonic() - started > 0.3, "waited in the other"
        queues.close()


def job(number: int, plan: str = "noop") -> str:
    return json.dumps({"filename": f"{number}.jpg", "plan": plan})


def worker_at(url: str, folder: Path, **variables: str) -> Supervisor:
    settings = {"queue": "", "queues": WEIGHTS, **variables}
    return Supervisor(url, folder, command=planned_supervisor.COMMAND, **settings)


def test_a_worker_does_the_jobs_of_all_its_queues_and_leaves_them_clean(
    server: RedisServer, urgent: QueueState, calm: QueueState, tmp_path: Path
) -> None:
    with worker_at(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        for round_of_jobs in range(1, 4):
            for queue in (urgent, calm):
                eventually(lambda: queue.members("workers"), "a worker that waits")  # noqa: B023
                queue.push(*[job(n) for n in range(10)])
                eventually(
                    lambda: queue.quiet and queue.stats.get("done") == 10 * round_of_jobs,  # noqa: B023
                    lambda: f"{queue.list}: {queue.stats}, {supervisor.log[-5:]}",  # noqa: B023
                )
        assert supervisor.troubles() == []
        assert supervisor.terminate() == 0
    for queue in (urgent, calm):
        assert queue.members("workers") == {}
        assert queue.jobs == 0


def test_a_worker_names_its_pod_and_its_queues_in_each_of_them(
    server: RedisServer, urgent: QueueState, calm: QueueState, tmp_path: Path
) -> None:
    with worker_at(server.url, tmp_path, pod="pod-a") as supervisor:
        supervisor.await_ready()
        for queue in (urgent, calm):
            eventually(lambda: queue.members("workers"), "a worker that waits")  # noqa: B023
            (worker,) = queue.members("workers")
            assert worker.endswith(f"{served([CALM, URGENT])}@pod-a")
        assert supervisor.terminate() == 0


def test_sigterm_finishes_the_running_job_of_any_queue(
    server: RedisServer, urgent: QueueState, calm: QueueState, tmp_path: Path
) -> None:
    with worker_at(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        (tmp_path / "in" / "1.jpg").write_bytes(jpeg())
        gate = Gate(tmp_path)
        calm.push(job(1, gate.plan))
        gate.await_begun()
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.await_line("draining")
        gate.open()
        assert supervisor.process.wait(60) == 0
    assert calm.stats["done"] == 1
    assert urgent.members("workers") == calm.members("workers") == {}


def test_a_long_job_of_one_queue_keeps_its_lease_and_the_dead_of_another_are_reaped(
    server: RedisServer, urgent: QueueState, calm: QueueState, tmp_path: Path
) -> None:
    urgent.push(job(2))
    gone = leases_of(server.url, URGENT)
    gone.claim("gone", "gone-0")
    gone.close()
    urgent.expire("inflight", "gone-0")
    urgent.expire("workers", "gone")
    with worker_at(server.url, tmp_path, lease_seconds="1", queues=f"{CALM}=1,{URGENT}=1") as one:
        one.await_ready()
        calm.push(job(1, "hang"))
        eventually(lambda: calm.members("inflight"), "the job to run")
        eventually(lambda: "gone-0" not in urgent.members("inflight"), "the lost one taken back")
        eventually(lambda: "gone" not in urgent.members("workers"), "the dead struck off")
        assert len(calm.members("inflight")) == 1
        assert calm.stats == {}, "several leases have passed, and nobody took it"


def test_a_job_that_a_lost_answer_granted_keeps_its_lease_while_another_queues_job_runs(
    server: RedisServer, urgent: QueueState, calm: QueueState, tmp_path: Path
) -> None:
    claim_of_urgent = script("claim").sha.encode() + b"\r\n$2\r\n11\r\n$12\r\n" + URGENT.encode()
    with (
        LossyProxy(server.url) as proxy,
        worker_at(proxy.url, tmp_path, lease_seconds="1", queues=f"{URGENT}=1,{CALM}=1") as one,
    ):
        one.await_ready()
        eventually(lambda: urgent.members("workers"), "a worker that waits")
        proxy.lose_answer_to(claim_of_urgent)
        with urgent.client.pipeline() as at_once:
            at_once.rpush(URGENT, job(1))
            at_once.rpush(CALM, job(2, "sleep:4"))
            at_once.execute()
        assert proxy.lost.wait(60)
        eventually(
            lambda: (urgent.stats.get("done"), calm.stats.get("done")) == (1, 1),
            lambda: f"both done: {urgent.stats}, {calm.stats}",
        )
        assert calm.stats["busy_ms"] > 3_000
        assert one.lines("was lost to other workers") == []
    assert urgent.stats.get("crashed") is None, "four leases have passed"


def test_queues_may_lie_on_different_nodes_of_a_cluster(tmp_path: Path) -> None:
    with RedisCluster() as cluster:
        names = {cluster.owner(name).port: name for name in map("queue:{}".format, range(200))}
        assert len(names) == 3
        queues = [state(cluster.client(), name) for name in names.values()]
        weights = ",".join(f"{name}=1" for name in names.values())
        with worker_at(cluster.nodes[0].url, tmp_path, queues=weights) as supervisor:
            supervisor.await_ready()
            for queue in (*queues, *queues):
                queue.push(job(1), job(2))
            for queue in queues:
                eventually(
                    lambda: queue.quiet and queue.stats.get("done") == 4,  # noqa: B023
                    lambda: f"{queue.list}: {queue.stats}, {supervisor.log[-5:]}",  # noqa: B023
                )
            assert "CROSSSLOT" not in supervisor.get("/metrics")[1]
            assert supervisor.terminate() == 0


def test_a_node_that_is_away_with_a_finished_jobs_queue_stops_no_other_queue(
    tmp_path: Path,
) -> None:
    with RedisCluster(
        **{
            "cluster-require-full-coverage": "no",
            "appendonly": "yes",
            "appendfsync": "always",
        }
    ) as cluster:
        names = {cluster.owner(name).port: name for name in map("queue:{}".format, range(200))}
        _, far, near = (names[node.port] for node in cluster.nodes)
        away, present = (state(cluster.client(), name) for name in (far, near))
        with worker_at(
            cluster.nodes[0].url, tmp_path, queues=f"{far}=1,{near}=1", lease_seconds="6"
        ) as supervisor:
            supervisor.await_ready()
            (tmp_path / "in" / "1.jpg").write_bytes(jpeg())
            gate = Gate(tmp_path)
            away.push(job(1, gate.plan))
            gate.await_begun()
            cluster.nodes[1].kill()
            gate.open()
            present.push(*[job(number) for number in range(20)])
            eventually(
                lambda: present.quiet and present.stats.get("done") == 20,
                lambda: f"{present.stats}, {supervisor.log[-5:]}",
            )
            cluster.nodes[1].start()
            cluster.await_whole()
            eventually(
                lambda: away.quiet and away.stats.get("done") == 1,
                lambda: f"{away.stats}, {supervisor.log[-5:]}",
            )
            assert supervisor.metric("image_worker_bugs_total") == 0
            assert supervisor.terminate() == 0
