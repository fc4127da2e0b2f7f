"""What real workers tell of their cores, as the operator says it: real Redis, API and kernel."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.connection_contract import Heard
from support.operator_process import OperatorProcess
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_stage import RedisStage
from support.shop import Shop
from support.supervisor import COMMAND, Supervisor
from support.waiting import eventually
from workerpool_operator.census import AT_ONCE
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey

QUEUE = "queue:images"
CPU = min(os.sched_getaffinity(0))
Start = Callable[..., Supervisor]


@pytest.fixture
def start(stage: RedisStage, tmp_path: Path) -> Iterator[Start]:
    """Start workers that know a pod and a node, pinned to one and the same core."""
    with ExitStack() as stack:

        def start_one(queue: str, **variables: str) -> Supervisor:
            command = ("taskset", "--cpu-list", str(CPU), *COMMAND)
            supervisor = Supervisor(
                stage.server.url,
                tmp_path / str(len(os.listdir(tmp_path))),  # noqa: PTH208
                command=command,
                queue=queue,
                cpu_policy="Exclusive",
                lease_seconds="9",
                **variables,
            )
            stack.enter_context(supervisor)
            supervisor.await_ready()
            return supervisor

        yield start_one


async def test_a_real_worker_is_surveyed(stage: RedisStage, start: Start) -> None:
    start(QUEUE, namespace="shop", pool="images", pod="images-worker-a", node="node-1")
    # A worker is known before its child sits on a core, and tells of that with its next beat.
    queue = QueueState(stage.client)
    (worker,) = eventually(lambda: queue.members("workers"), "a worker")
    eventually(lambda: queue.record(worker).get("affinity"), "word of a core")
    survey = await survey_of(stage)
    (report,) = survey.reports
    assert (survey.workers, report.pod, report.node) == (1, "images-worker-a", "node-1")
    assert report.cpus == {CPU}
    assert report.virtualisation


async def test_a_survey_without_the_right_to_it_says_what_to_grant(stage: RedisStage) -> None:
    stage.user("reader", "secret", ["+time", "+zcount", "+hmget", "~*"])
    connection = stage.connection(username="reader", password="secret")  # noqa: S106
    await connection.open(Heard())
    (answer,) = await connection.survey([QUEUE])
    await connection.close()
    assert isinstance(answer, Unreadable)
    assert answer.reason == "PermissionDenied"
    assert "docs/protocol.md" in str(answer)


@pytest.mark.parametrize("workers", [1, AT_ONCE, 12 * AT_ONCE + 8])
async def test_all_workers_are_asked_however_many_pieces_it_takes(
    stage: RedisStage, workers: int
) -> None:
    deadline = (stage.client.time()[0] + 3600) * 1000
    for number in range(workers):
        stage.client.zadd("{queue:images}:workers", {f"w{number}": deadline})
        stage.client.hset(f"{{queue:images}}:worker:w{number}", "affinity", str(number))
    survey = await survey_of(stage)
    assert (survey.workers, len(survey.reports)) == (workers, workers)
    assert all(report.cpus == {int(report.worker[1:])} for report in survey.reports)


async def survey_of(stage: RedisStage) -> Survey:
    connection = stage.connection()
    await connection.open(Heard())
    (survey,) = await connection.survey([QUEUE])
    await connection.close()
    assert isinstance(survey, Survey)
    return survey


async def test_a_worker_that_vanished_is_not_asked(stage: RedisStage) -> None:
    stage.client.zadd("{queue:images}:workers", {"gone": 1})
    stage.client.hset("{queue:images}:worker:gone", "affinity", "3")
    connection = stage.connection()
    await connection.open(Heard())
    assert await connection.survey([QUEUE]) == [Survey()]
    await connection.close()


def test_a_pool_says_whether_its_workers_have_a_core_each(
    shop: Shop, start: Start, operator: OperatorProcess
) -> None:
    shop.add()
    shop.await_condition("CPUPinned", "Unknown", "NoEvidence")
    home = {"namespace": shop.namespace, "pool": "images", "node": "node-1"}

    start(shop.queue(), **home, pod="images-worker-a")
    shop.await_condition("CPUPinned", "True", "Pinned")
    eventually(lambda: shop.status().get("externalWorkers") == 0, "no worker from outside")

    def await_figure(name: str, value: float) -> None:
        key = f'workerpool_{name}{{namespace="{shop.namespace}",pool="images"}}'
        eventually(lambda: operator.metrics().get(key) == value, f"{name} {value}")

    await_figure("pinned_workers", 1)
    await_figure("shared_cores", 0)

    start(shop.queue(), **home, pod="images-worker-b")
    shop.await_condition("CPUPinned", "False", "CoreShared")
    shop.await_condition("Isolated", "False", "CoreShared")
    words = f"CPU {CPU} of node-1 has 2 (images-worker-a, images-worker-b)"
    shop.await_words("CPUPinned", words)
    await_figure("shared_cores", 1)


def test_a_core_that_two_pools_share_is_told_by_both(shop: Shop, start: Start) -> None:
    pools = ("images", "films")
    for pool in pools:
        shop.add(pool)
    for pool in pools:
        home = {"namespace": shop.namespace, "pool": pool, "node": "node-1"}
        start(shop.queue(pool), **home, pod=f"{pool}-worker-a")
    for pool in pools:
        shop.await_condition("CPUPinned", "False", "CoreShared", pool)
        shop.await_words("CPUPinned", "node-1 has 2 (films-worker-a, images-worker-a)", pool)
    shop.remove("films")
    shop.await_condition("CPUPinned", "True", "Pinned")


def test_workers_from_outside_are_counted(shop: Shop, start: Start) -> None:
    shop.add(cpu={"policy": "Shared", "request": "250m"})
    shop.await_condition("CPUPinned", "False", "SharedPolicy")
    start(shop.queue())
    eventually(lambda: shop.status().get("externalWorkers") == 1, shop.status)


def test_a_neighbour_on_a_workers_core_is_told(
    shop: Shop, stage: RedisStage, start: Start
) -> None:
    shop.add()
    home = {"namespace": shop.namespace, "pool": "images", "node": "node-1"}
    worker = start(shop.queue(), **home, pod="images-worker-a")
    (worker.folder / "in" / "a.jpg").write_bytes(jpeg((3000, 2000)))
    with neighbours(2):
        stage.client.rpush(shop.queue(), *['{"filename": "a.jpg"}'] * 5000)
        shop.await_condition("Isolated", "False", "Crowded")
        shop.await_words("Isolated", "images-worker-a on node-1")
        stage.client.delete(shop.queue())


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep the workers' core busy with processes that never rest."""
    command = ("taskset", "--cpu-list", str(CPU), sys.executable, "-c", "while True: pass")
    with ExitStack() as stack:
        for _ in range(count):
            stack.callback(stack.enter_context(subprocess.Popen(command)).kill)
        yield
