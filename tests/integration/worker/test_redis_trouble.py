"""What real Redis servers do on bad days, and that the worker survives each of them."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import redis

from image_worker.errors import QueueUnavailable
from image_worker.keys import keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from support import planned_supervisor
from support.certificates import Certificates, make_certificates
from support.gate import Gate
from support.lossy_proxy import LossyProxy
from support.pictures import jpeg
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer, free_port
from support.sentinels import SentinelGroup
from support.supervisor import Supervisor
from support.waiting import eventually

LEASE = timedelta(seconds=15)


def put(folder: Path, name: str) -> str:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / name).write_bytes(jpeg())
    return json.dumps({"filename": name})


def leases_of(settings: RedisSettings) -> Leases:
    return Leases(connect(settings, "test"), keys_of(LIST), LEASE)


def trouble_of(settings: RedisSettings) -> QueueUnavailable:
    leases = leases_of(settings)
    with pytest.raises(QueueUnavailable) as caught:
        leases.claim("w", "w-0")
    leases.close()
    return caught.value


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure_url(server: RedisServer, certificates: Certificates) -> Iterator[str]:
    """Have the server listen with TLS too."""
    with redis.Redis.from_url(server.url) as client:
        port = free_port()
        client.config_set(
            "tls-port",
            port,
            *("tls-cert-file", str(certificates.certificate)),
            *("tls-key-file", str(certificates.key)),
            *("tls-ca-cert-file", str(certificates.ca)),
            *("tls-auth-clients", "no"),
        )
        yield f"rediss://127.0.0.1:{port}/0"
        client.config_set("tls-port", 0)


def test_jobs_are_done_over_a_connection_that_the_ca_vouches_for(
    queue: QueueState, secure_url: str, certificates: Certificates, tmp_path: Path
) -> None:
    with Supervisor(secure_url, tmp_path, redis_ca_file=str(certificates.ca)) as supervisor:
        supervisor.await_ready()
        queue.push(put(tmp_path, "a.jpg"))
        eventually(lambda: queue.stats.get("done") == 1, lambda: f"a job: {supervisor.log}")
        assert supervisor.terminate() == 0
    assert queue.members("workers") == {}


def test_a_server_that_nobody_vouches_for_gets_no_word(secure_url: str) -> None:
    error = trouble_of(RedisSettings(secure_url, None, None, None))
    assert error.reason == "Unreachable"
    assert "certificate verify failed" in str(error)


def test_a_redis_that_cannot_save_refuses_and_is_waited_for(tmp_path: Path) -> None:
    with RedisServer({"save": "3600 1000000"}) as server:
        client = server.client()
        queue = QueueState(client)
        queue.push(put(tmp_path, "a.jpg"))
        (server.folder / "dump.rdb").mkdir()  # so that no snapshot can take this name
        client.bgsave()
        eventually(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed save"
        )
        assert trouble_of(RedisSettings(server.url, None, None, None)).reason == "MISCONF"
        with Supervisor(server.url, tmp_path) as supervisor:
            supervisor.await_line("Redis is unavailable")
            (server.folder / "dump.rdb").rmdir()
            client.bgsave()
            eventually(lambda: queue.stats.get("done") == 1, lambda: f"a job: {supervisor.log}")
            assert supervisor.terminate() == 0


def test_a_master_that_became_a_replica_is_left_and_its_next_role_is_found(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with Supervisor(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        queue.client.replicaof("127.0.0.1", 1)
        try:
            supervisor.await_metric("image_worker_redis_up", 0)
        finally:
            queue.client.replicaof("NO", "ONE")
        queue.push(put(tmp_path, "a.jpg"))
        eventually(lambda: queue.stats.get("done") == 1, lambda: f"a job: {supervisor.log}")
        assert supervisor.terminate() == 0


def test_a_redis_that_loads_its_data_is_waited_for(tmp_path: Path) -> None:
    slowly = {"key-load-delay": "5000", "loading-process-events-interval-bytes": "1024"}
    with RedisServer({"dbfilename": "slow.rdb", **slowly}) as server:
        queue = QueueState(server.client())
        queue.push(put(tmp_path, "a.jpg"))
        queue.client.mset({f"other:{number}": "x" * 64 for number in range(5_000)})
        queue.client.save()
        with Supervisor(server.url, tmp_path) as supervisor:
            eventually(lambda: queue.stats.get("done") == 1, lambda: f"a job: {supervisor.log}")
            server.kill()
            supervisor.await_line("Redis is unavailable")
            server.begin_to_start()
            loading = 'image_worker_redis_errors_total{reason="LOADING"}'
            eventually(lambda: supervisor.metric(loading) > 0, lambda: f"it: {supervisor.log}")
            assert supervisor.get("/healthz")[0] == 200
            queue.client.config_set("key-load-delay", 0)
            # The snapshot is from before the job was done, and what Redis forgot is done again.
            supervisor.await_metric('image_worker_jobs_total{outcome="done"}', 2)
            supervisor.await_ready()
            assert supervisor.terminate() == 0


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[LossyProxy]:
    with LossyProxy(server.url) as running:
        yield running


def test_half_open_connections_are_noticed_while_it_waits(
    queue: QueueState, proxy: LossyProxy, tmp_path: Path
) -> None:
    with Supervisor(proxy.url, tmp_path) as supervisor:
        supervisor.await_ready()
        for number in range(2):
            proxy.swallow()
            assert proxy.swallowed.wait(60), "the worker said something to nobody"
            queue.push(put(tmp_path, f"{number}.jpg"))
            eventually(
                partial(is_done, queue, number + 1),
                lambda: f"a job: {queue.stats} {supervisor.log}",
            )
        assert supervisor.metric('image_worker_redis_errors_total{reason="Timeout"}') > 0
        supervisor.await_ready()
        assert supervisor.terminate() == 0
    assert set(queue.stats) == {"done", "busy_ms"}
    assert queue.jobs == 0


def test_half_open_connections_in_the_middle_of_a_job_cost_no_second_run(
    queue: QueueState, proxy: LossyProxy, tmp_path: Path
) -> None:
    command = planned_supervisor.COMMAND
    with Supervisor(proxy.url, tmp_path, command=command, lease_seconds="60") as supervisor:
        supervisor.await_ready()
        gate = Gate(tmp_path)
        held = json.loads(put(tmp_path, "a.jpg")) | {"plan": gate.plan}
        queue.push(json.dumps(held), put(tmp_path, "b.jpg"))
        gate.await_begun()
        proxy.swallow()
        gate.open()
        eventually(partial(is_done, queue, 2), lambda: f"both: {queue.stats} {supervisor.log}")
        supervisor.await_metric('image_worker_jobs_total{outcome="done"}', 2)
        assert supervisor.metric("image_worker_leases_lost_total") == 0
        assert supervisor.terminate() == 0
    assert queue.jobs == 0


def is_done(queue: QueueState, count: int) -> bool:
    return queue.quiet and queue.stats.get("done") == count


def test_an_outage_of_any_number_of_attempts_is_survived() -> None:
    with RedisServer() as server:
        server.kill()
        leases = leases_of(RedisSettings(server.url, None, None, None))
        for _ in range(150):
            with pytest.raises(QueueUnavailable):
                leases.claim("w", "w-0")
        server.start()
        assert leases.claim("w", "w-0").lease is None
        leases.close()


def test_a_failover_is_followed_to_the_new_master(tmp_path: Path) -> None:
    with SentinelGroup() as group:
        old, new = QueueState(group.master.client()), QueueState(group.replica.client())
        addresses = ",".join(group.addresses)
        with Supervisor(
            "redis://nowhere.invalid/0", tmp_path, redis_sentinels=addresses
        ) as supervisor:
            supervisor.await_ready()
            old.push(put(tmp_path, "a.jpg"))
            eventually(lambda: old.stats.get("done") == 1, lambda: f"a job: {supervisor.log}")
            eventually(lambda: new.stats.get("done") == 1, "the replica to have it")
            group.master.kill()
            group.await_failover()
            new.push(put(tmp_path, "b.jpg"))
            eventually(lambda: new.stats.get("done") == 2, lambda: f"a job: {supervisor.log}")
            assert supervisor.terminate() == 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.jpg"]
