"""Delivery at most once: jobs of others' lists, with nothing written but by whoever pushes."""

import json
import os
import signal
from pathlib import Path

import pytest

from support import planned_supervisor
from support.gate import Gate
from support.lossy_proxy import LossyProxy
from support.queue_state import LIST, QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually


def job(number: int, plan: str = "noop", **fields: object) -> str:
    return json.dumps({"filename": f"{number}.jpg", "plan": plan, **fields})


def lossy(url: str, folder: Path, **variables: str) -> Supervisor:
    settings = {"delivery": "at-most-once", **variables}
    return Supervisor(url, folder, command=planned_supervisor.COMMAND, **settings)


def await_outcome(supervisor: Supervisor, outcome: str, count: int) -> None:
    supervisor.await_metric(f'image_worker_jobs_total{{outcome="{outcome}"}}', count)


def keys(queue: QueueState) -> set[bytes]:
    return set(queue.client.scan_iter())


def test_jobs_are_done_and_no_key_is_written(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with lossy(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        queue.push(*[job(n) for n in range(10)])
        await_outcome(supervisor, "done", 10)
        queue.push(job(10, notBefore=4_000_000_000), job(11, id="a"), job(12, id="a"))
        await_outcome(supervisor, "done", 13)
        assert keys(queue) == set()
        supervisor.await_metric("image_worker_redis_up", 1)
        assert supervisor.terminate() == 0
    assert keys(queue) == set()


@pytest.mark.parametrize(("plan", "outcome"), [("fail", "failed"), ("die", "crashed")])
def test_a_job_that_was_not_done_is_gone(
    server: RedisServer, queue: QueueState, tmp_path: Path, plan: str, outcome: str
) -> None:
    with lossy(server.url, tmp_path) as supervisor:
        queue.push(job(1, plan), job(2))
        await_outcome(supervisor, outcome, 1)
        await_outcome(supervisor, "done", 1)
        assert supervisor.await_line(outcome=outcome)["settled"] == "dropped"
    assert keys(queue) == set()


def test_a_worker_that_is_killed_takes_its_job_along(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with lossy(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        queue.push(job(1, "hang"), job(2))
        eventually(lambda: queue.waiting == [job(2).encode()], "the first one to be taken")
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.process.wait(60)
    assert queue.waiting == [job(2).encode()]
    with lossy(server.url, tmp_path) as successor:
        await_outcome(successor, "done", 1)
    assert keys(queue) == set()


def test_sigterm_finishes_the_running_job_and_leaves_the_rest(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with lossy(server.url, tmp_path) as supervisor:
        gate = Gate(tmp_path)
        queue.push(job(1, gate.plan), job(2))
        gate.await_begun()
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.await_line("draining")
        gate.open()
        supervisor.await_line(outcome="failed", reason="MissingFile")  # it ran to its end
        assert supervisor.process.wait(60) == 0
    assert queue.waiting == [job(2).encode()]


def test_an_outage_is_waited_out_and_a_lost_answer_is_a_lost_job(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with LossyProxy(server.url) as proxy, lossy(proxy.url, tmp_path) as supervisor:
        supervisor.await_ready()
        proxy.lose_answer_to(b"BLPOP")
        queue.push(job(1))
        assert proxy.lost.wait(60)
        queue.push(job(2))
        supervisor.await_line(filename="2.jpg")
        assert supervisor.metric('image_worker_jobs_total{outcome="done"}') <= 2
        assert supervisor.terminate() == 0
    assert keys(queue) == set()


def test_several_queues_need_leases(server: RedisServer, tmp_path: Path) -> None:
    with lossy(server.url, tmp_path, queues=f"{LIST}=1,other=1") as supervisor:
        assert supervisor.process.wait(60) == 2
