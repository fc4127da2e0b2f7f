"""A request that was executed and whose answer was lost, at each step of a job's way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_worker.leases import script
from support import planned_supervisor
from support.lossy_proxy import LossyProxy
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[LossyProxy]:
    with LossyProxy(server.url) as running:
        yield running


def sha(name: str) -> bytes:
    return script(name).sha.encode()


@pytest.mark.parametrize("call", [b"BLMOVE", sha("claim"), sha("beat")])
def test_a_lost_answer_neither_loses_nor_doubles_nor_blames_a_job(
    queue: QueueState, proxy: LossyProxy, tmp_path: Path, call: bytes
) -> None:
    with Supervisor(proxy.url, tmp_path) as supervisor:
        supervisor.await_ready()
        names = [f"{number}.jpg" for number in range(5)]
        for name in names:
            (tmp_path / "in" / name).write_bytes(jpeg())
        queue.push(json.dumps({"filename": names[0]}))
        eventually(lambda: queue.stats.get("done") == 1, "a first job")
        proxy.lose_answer_to(call)
        for name in names[1:]:
            queue.push(json.dumps({"filename": name}))
        assert proxy.lost.wait(60)
        eventually(
            lambda: queue.quiet and queue.stats["done"] >= 5, lambda: f"5 done: {queue.stats}"
        )
        assert queue.stats["done"] == 5
        assert set(queue.stats) == {"done", "busy_ms"}
        assert queue.jobs == 0
        assert supervisor.terminate() == 0
    assert len(list((tmp_path / "out").iterdir())) == 5


@pytest.mark.parametrize(
    ("call", "plan", "counter"), [("fail", "fail", "failed"), ("crash", "die", "crashed")]
)
def test_a_lost_answer_to_a_verdict_counts_it_once(
    queue: QueueState, proxy: LossyProxy, tmp_path: Path, call: str, plan: str, counter: str
) -> None:
    with Supervisor(
        proxy.url, tmp_path, command=planned_supervisor.COMMAND, job_max_attempts="3"
    ) as supervisor:
        supervisor.await_ready()
        # Sent once in full, so that the digest is what goes over the wire from here on.
        queue.client.script_load(script(call).source)
        proxy.lose_answer_to(sha(call))
        queue.push(json.dumps({"filename": "a.jpg", "plan": plan}))
        assert proxy.lost.wait(60)
        eventually(lambda: queue.members("dead"), lambda: f"a burial: {queue.stats}")
        assert queue.stats == {counter: 3, "dead": 1}


def test_the_answer_to_a_goodbye_may_be_lost_too(
    queue: QueueState, proxy: LossyProxy, tmp_path: Path
) -> None:
    with Supervisor(proxy.url, tmp_path) as supervisor:
        supervisor.await_ready()
        eventually(lambda: queue.members("workers"), "the worker to be known")
        queue.client.script_load(script("leave").source)
        proxy.lose_answer_to(sha("leave"))
        assert supervisor.terminate() == 0
        assert proxy.lost.is_set()
    assert queue.members("workers") == {}
