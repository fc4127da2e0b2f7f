import json
import signal
from pathlib import Path
from typing import Any

import redis

from integration.cli.conftest import Tool, Workers
from support.photos import Photo
from support.waiting import eventually
from unit.cli.stage import Cluster, pool_body
from workerpool_cli.pool import RESOURCE


def test_a_real_worker_is_seen_at_work(tool: Tool, workers: Workers) -> None:
    photo = Photo(1)
    (workers.photos / photo.filename).write_bytes(photo.jpeg())
    workers.start(WORKERPOOL_POD="pod-1", WORKERPOOL_NODE="node-1")
    assert tool.run("push", "--wait", str(workers.photos)).returncode == 0

    def told() -> dict[str, Any] | None:
        seen = json.loads(tool.run("status", "-o", "json").stdout)
        return seen if seen["workers"] and seen["workers"][0]["pod"] else None

    seen = eventually(told, "the worker's record")
    (worker,) = seen["workers"]
    assert (worker["pod"], worker["node"], worker["job"]) == ("pod-1", "node-1", None)
    assert 0 <= worker["ageSeconds"] < 300
    queue = seen["queue"]
    assert (queue["done"], queue["waiting"], queue["inFlight"]) == (1, 0, 0)


def test_rates_are_measured_when_asked_for(tool: Tool) -> None:
    seen = json.loads(tool.run("status", "--over", "1s", "-o", "json").stdout)
    assert seen["queue"]["rates"]["donePerSecond"] == 0
    assert 0.9 < seen["queue"]["rates"]["seconds"] < 30


def test_watching_in_a_log_is_a_line_each_time(tool: Tool) -> None:
    process = tool.start("status", "--watch", "1s")
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert first.startswith("waiting 0  due 0")
    assert "(0.0/s)" in second
    assert process.returncode == 130


def test_a_pool_is_shown_with_its_queue_and_the_port_forward_closed(
    tool: Tool, cluster: Cluster
) -> None:
    queue = {"list": tool.name, "redis": {"url": "redis://redis:6379/0"}}
    cluster.set(forward_port=tool.server.port, **{RESOURCE: {"images": pool_body(queue=queue)}})
    tool.environ["KUBECTL"] = cluster.program
    tool.environ["FAKE_KUBECTL"] = str(cluster.folder)
    done = tool.run("status", "images")
    assert done.returncode == 0, done.stderr
    assert f"{tool.name}  redis://redis:6379/0" in done.stdout
    assert "pool shop/images" in done.stdout
    forward = Path(f"/proc/{(cluster.folder / 'forward.pid').read_text()}")
    eventually(lambda: not forward.exists(), "the end of the port-forward")


def test_whoever_reads_only_the_head_breaks_nothing(tool: Tool, client: "redis.Redis") -> None:
    client.zadd(f"{{{tool.name}}}:dead", {f"letter-{n}": n for n in range(5000)})
    process = tool.start("dead", "list", "--limit", "5000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (0, "")
