"""A real Redis Cluster: the queue in one slot of it, and the slot on the move."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from image_worker.envelope import Lease
from image_worker.errors import QueueUnavailable
from image_worker.keys import keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from support import planned_supervisor
from support.gate import Gate
from support.pictures import jpeg
from support.queue_state import LIST, QueueState
from support.redis_cluster import RedisCluster
from support.supervisor import Supervisor
from support.waiting import eventually

LEASE = timedelta(seconds=15)
TAGGED = "q:{eu}:images"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as running:
        yield running


@pytest.fixture
def queue(cluster: RedisCluster) -> QueueState:
    client = cluster.client()
    client.flushall(target_nodes=client.ALL_NODES)
    return QueueState(client)


@pytest.fixture
def stranger(cluster: RedisCluster) -> str:
    """Return the address of a node that has not the queue's slot."""
    return cluster.others(LIST)[-1].url


def job(number: int, plan: str = "noop") -> str:
    return json.dumps({"filename": f"{number}.jpg", "plan": plan})


def leases_at(url: str, list_name: str = LIST) -> Leases:
    settings = RedisSettings(url, None, None, None)
    return Leases(connect(settings, "test"), keys_of(list_name), LEASE)


def worker_at(url: str, folder: Path, **variables: str) -> Supervisor:
    return Supervisor(url, folder, command=planned_supervisor.COMMAND, **variables)


def await_done(queue: QueueState, supervisor: Supervisor, count: int) -> None:
    eventually(
        lambda: queue.quiet and queue.stats.get("done") == count,
        lambda: f"{count} done: {queue.stats}, {supervisor.log[-20:]}",
    )
    assert queue.jobs == 0
    assert set(queue.stats) == {"done", "busy_ms"}, "no crash, no failure"


@pytest.mark.parametrize("list_name", [LIST, TAGGED])
def test_every_call_finds_all_its_keys_in_one_slot(
    cluster: RedisCluster, queue: QueueState, list_name: str
) -> None:
    queue = QueueState(queue.client, list_name, keys_of(list_name).prefix)
    leases = leases_at(cluster.others(list_name)[0].url, list_name)
    queue.push("1", "2", "3", "4", "5")
    assert leases.wait("w", timedelta(seconds=1))
    assert leases.claim("w", "w-0").lease == Lease("w-0", "w-0", 0, 0, b"1")
    assert leases.fail("w-0", reason="R", sentence="", max_attempts=1, delay=timedelta()) == (
        "buried"
    )
    assert leases.claim("w", "w-1").lease == Lease("w-1", "w-1", 0, 0, b"2")
    assert leases.crash("w-1", reason="R", sentence="") == "retry"
    assert leases.claim("w", "w-2", retries_first=True).lease == Lease("w-2", "w-1", 0, 1, b"2")
    assert leases.release("w-2") == "retry"
    leases.record("w", {"pod": "p"})
    assert leases.beat(["w"], ["w-2"]).lost == ("w-2",)
    assert leases.reap(blame_after_ms=0) == (0, 0)
    assert not leases.strike("w")
    assert leases.server_started_ms(1) is not None
    assert leases.claim("w", "w-3").lease is not None
    assert leases.leave("w", ("w-3", 1))
    leases.close()


def test_a_worker_that_knows_any_node_finds_the_queue(
    queue: QueueState, stranger: str, tmp_path: Path
) -> None:
    with worker_at(stranger, tmp_path) as supervisor:
        supervisor.await_ready()
        queue.push(job(1))
        await_done(queue, supervisor, 1)
        assert supervisor.troubles() == []
        assert supervisor.terminate() == 0
    assert queue.members("workers") == {}


def test_a_slot_that_is_half_moved_is_waited_for_with_nothing_lost_or_done_twice(
    cluster: RedisCluster, queue: QueueState, stranger: str, tmp_path: Path
) -> None:
    pushed = 0
    refused = 'image_worker_redis_errors_total{reason="TRYAGAIN"}'
    with worker_at(stranger, tmp_path) as supervisor:
        supervisor.await_ready()
        for round_of_moves in range(1, 4):
            for _ in range(200):
                queue.push(job(pushed))
                pushed += 1
            before = supervisor.metric(refused)
            with cluster.moving(LIST):
                queue.client.nodes_manager.initialize()
                # What is asked of a slot whose keys are on both sides is refused (TRYAGAIN).
                eventually(
                    lambda: supervisor.metric(refused) > before,  # noqa: B023  called at once
                    lambda: f"trouble in round {round_of_moves}",  # noqa: B023  likewise
                )
            await_done(queue, supervisor, pushed)
        reasons = supervisor.get("/metrics")[1]
        assert "CROSSSLOT" not in reasons
        assert supervisor.terminate() == 0
    assert queue.members("workers") == {}


def test_a_slot_may_move_under_a_worker_that_waits_or_works(
    cluster: RedisCluster, queue: QueueState, stranger: str, tmp_path: Path
) -> None:
    with worker_at(stranger, tmp_path) as supervisor:
        supervisor.await_ready()
        eventually(lambda: queue.members("workers"), "a worker that waits")
        cluster.move(LIST)
        queue.push(job(1))
        await_done(queue, supervisor, 1)
        (tmp_path / "in" / "2.jpg").write_bytes(jpeg())
        gate = Gate(tmp_path)
        queue.push(job(2, gate.plan))
        gate.await_begun()
        cluster.move(LIST)
        gate.open()
        await_done(queue, supervisor, 2)
        assert supervisor.terminate() == 0


def test_an_empty_slot_on_its_way_is_asked_for_where_it_goes(
    cluster: RedisCluster, queue: QueueState, stranger: str
) -> None:
    """Redis answers `ASK`; the importing node refuses a call some of whose keys are missing."""
    assert queue.quiet
    leases = leases_at(stranger)
    with cluster.moving(LIST):
        with pytest.raises(QueueUnavailable) as caught:
            leases.claim("w", "w-0")
        assert caught.value.reason == "TRYAGAIN"
    assert leases.claim("w", "w-0").lease is None
    leases.close()


def test_a_node_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with RedisCluster(appendonly="yes", appendfsync="always") as cluster:
        queue = QueueState(cluster.client())
        with worker_at(cluster.others(LIST)[0].url, tmp_path, lease_seconds="1") as supervisor:
            supervisor.await_ready()
            (tmp_path / "in" / "2.jpg").write_bytes(jpeg())
            gate = Gate(tmp_path)
            queue.push(job(1), job(2, gate.plan))
            gate.await_begun()
            cluster.owner(LIST).kill()
            supervisor.await_metric("image_worker_redis_up", 0)
            gate.open()
            cluster.owner(LIST).start()
            cluster.await_whole()
            queue.push(job(3))
            await_done(queue, supervisor, 3)
            supervisor.await_ready()
            assert supervisor.terminate() == 0
