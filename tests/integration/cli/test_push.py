import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import redis

from integration.cli.conftest import Tool, Workers
from support.photos import Photo
from support.redis_server import RedisServer
from support.waiting import eventually
from workerpool_cli.queues import Queue

BUSY = 1_000
"""So many jobs that seconds of work are left, should their producer stand still."""


def photos(workers: Workers, number: int) -> None:
    for n in range(number):
        photo = Photo(n, width=64, height=48)
        (workers.photos / photo.filename).write_bytes(photo.jpeg())


def test_jobs_arrive_in_order_and_byte_for_byte(tool: Tool, client: "redis.Redis") -> None:
    names = [f"2026/{n:05}.jpg" for n in range(12_345)]
    done = tool.run("push", "-", stdin="\n".join(names))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"12,345 jobs pushed to {tool.name}; 12,345 waiting now\n"
    assert client.lrange(tool.name, 0, -1) == [b'{"filename": "%s"}' % n.encode() for n in names]


def test_a_mistake_in_one_name_pushes_none(
    tool: Tool, client: "redis.Redis", tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").touch()
    done = tool.run("push", str(tmp_path), str(tmp_path / "typo.jpg"))
    assert done.returncode == 2
    assert "typo.jpg" in done.stderr
    assert not client.exists(tool.name)


def test_a_mistake_in_the_input_tells_how_far_it_came(tool: Tool, queue: Queue) -> None:
    done = tool.run("push", "-", stdin="a.jpg\n" * 1000 + "/etc/passwd\n")
    assert done.returncode == 2
    assert "1,000 jobs pushed before it stopped\n" in done.stderr
    assert "line 1001 of the input" in done.stderr
    assert queue.snapshot().waiting == 1000


def test_names_that_are_not_utf_8_are_refused_wherever_they_come_from(tool: Tool) -> None:
    process = tool.start("push", "--names", "\udcff.jpg")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "not UTF-8" in said


def test_waiting_ends_when_the_last_photo_is_done(tool: Tool, workers: Workers) -> None:
    photos(workers, 20)
    workers.start()
    done = tool.run("push", "--wait", str(workers.photos))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "20 jobs done, 0 dead"
    assert len(list((workers.folder / "out").iterdir())) == 20


def test_the_dead_among_them_are_counted_and_make_the_exit_code(
    tool: Tool, workers: Workers
) -> None:
    photos(workers, 5)
    (workers.photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    workers.start()
    old = tool.run(
        "push", "--wait", str(workers.photos / "broken.jpg"), "--root", str(workers.photos)
    )
    assert old.stdout.splitlines()[-1] == "0 jobs done, 1 dead"
    done = tool.run("push", "--wait", str(workers.photos))
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "5 jobs done, 1 dead"  # not the one of before
    assert "workerpool dead list" in done.stderr


def test_others_who_keep_the_queue_busy_do_not_prolong_the_wait(
    tool: Tool, workers: Workers, client: "redis.Redis"
) -> None:
    photos(workers, 5)
    stop = threading.Event()

    def keep_busy() -> None:
        number = 0
        while not stop.is_set():
            if client.llen(tool.name) < BUSY:
                number += 1
                client.rpush(
                    tool.name, *[b'{"filename": "other-%d-%d"}' % (number, n) for n in range(BUSY)]
                )
            stop.wait(0.01)

    others = threading.Thread(target=keep_busy)
    others.start()
    try:
        workers.start()
        done = tool.run("push", "--wait", "--timeout", "50s", str(workers.photos))
        assert client.llen(tool.name) > 0
    finally:
        stop.set()
        others.join()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "5 jobs done, 0 dead")


def test_time_up_tells_where_the_jobs_are(tool: Tool) -> None:
    done = tool.run("push", "--names", "a.jpg", "b.jpg", "--wait", "--timeout", "6s")
    assert done.returncode == 4
    assert "2 waiting; no worker runs" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupted_wait_ends_in_words_and_keeps_the_jobs(
    tool: Tool, queue: Queue, number: int, code: int, word: str
) -> None:
    process = tool.start("push", "--names", "a.jpg", "--wait")
    assert process.stdout is not None
    assert process.stdout.readline() == f"1 job pushed to {tool.name}; 1 waiting now\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, f"workerpool: {word}\n")
    assert queue.snapshot().waiting == 1


def test_a_wait_survives_a_restart_of_redis() -> None:
    config = {"appendonly": "yes", "appendfsync": "always"}
    with RedisServer(config) as server, ExitStack() as started:
        tool = Tool(server, "queue:restart", started=started)
        process = tool.start("push", "--names", "a.jpg", "--wait")
        client = server.client()
        eventually(lambda: client.llen(tool.name), "the job is pushed")
        server.restart()
        assert process.poll() is None
        assert client.lpop(tool.name) == b'{"filename": "a.jpg"}'
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1]) == (0, "1 job done, 0 dead"), said


@pytest.mark.parametrize(
    ("away", "said"),
    [
        (RedisServer.frozen, "had not answered by then"),
        (RedisServer.killed, "cannot be reached"),
    ],
)
def test_a_redis_that_goes_away_does_not_prolong_the_wait(
    away: Callable[[RedisServer], AbstractContextManager[None]], said: str
) -> None:
    with RedisServer() as server, ExitStack() as started:
        tool = Tool(server, "queue:away", started=started)
        process = tool.start("push", "--names", "a.jpg", "b.jpg", "--wait", "--timeout", "4s")
        assert process.stdout is not None
        assert "2 jobs pushed" in process.stdout.readline()
        with away(server):
            _, errors = process.communicate(timeout=30)  # it would try again for a minute
    assert process.returncode == 4, errors
    assert re.search(r"not done within 4 s: 0 done, 2 waiting.*, as seen \d+\.\d s ago", errors)
    assert '({"filename": "a.jpg"}, {"filename": "b.jpg"})' in errors
    assert said in errors
    assert "Traceback" not in errors


def test_a_redis_that_was_never_there_is_given_no_more_than_the_time() -> None:
    with RedisServer() as server, server.frozen():
        done = Tool(server, "queue:away").run("push", "--names", "a", "--wait", "--timeout", "1s")
    assert done.returncode == 4
    assert "not done within 1 s: nothing was pushed; redis://127.0.0.1" in done.stderr
    assert "had not answered by then" in done.stderr


def test_time_that_is_up_in_the_middle_of_the_input_tells_how_far_it_came(tool: Tool) -> None:
    process = tool.start("push", "-", "--wait", "--timeout", "6s", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("a.jpg\n" * 600)
    process.stdin.flush()
    assert process.wait(60) == 4
    assert process.stderr is not None
    assert "500 jobs pushed before it stopped\n" in process.stderr.read()


def test_a_full_redis_refuses_and_nothing_is_in_doubt() -> None:
    with RedisServer({"maxmemory": "3mb", "maxmemory-policy": "noeviction"}) as server:
        small = Tool(server, "queue:full")
        job = json.dumps({"filename": "a.jpg", "note": "x" * 1000})
        done = small.run("push", "-", stdin=f"{job}\n" * 10_000)
        assert done.returncode == 1
        assert "is full and takes no more" in done.stderr
        arrived = server.client().llen("queue:full")
        assert f"{arrived:,} jobs pushed before it stopped\n" in done.stderr
