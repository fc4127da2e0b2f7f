import json
import signal
import threading

import pytest
import redis

from image_worker.leases import Leases
from integration.cli.conftest import Tool
from support.waiting import eventually
from workerpool_cli.queues import SCRIPT_BATCH, Queue


@pytest.fixture
def buried(queue: Queue, leases: Leases) -> list[str]:
    """Return six dead letters, the oldest first: of two reasons by turns."""
    queue.push([b'{"filename": "2026/%d.jpg"}' % n for n in range(6)])
    names = []
    for number in range(6):
        claim = leases.claim("worker", f"worker-{number}")
        assert claim.lease is not None
        reason = "Timeout" if number % 2 else "BadImage"
        leases.bury(claim.lease.name, reason=reason, sentence="it is what it is")
        names.append(claim.lease.name)
    return names


@pytest.mark.usefixtures("buried")
def test_a_list_tells_which_and_why(tool: Tool) -> None:
    done = tool.run("dead", "list", "--reason", "Timeout", "--limit", "2")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "DIED", "REASON", "ATTEMPTS", "CRASHES", "WHY", "JOB"]
    assert [row.split()[0] for row in rows] == ["worker-5", "worker-3"]
    assert rows[0].endswith('{"filename": "2026/5.jpg"}')
    assert "2 of 6 dead letters shown (--limit)" in done.stderr
    done = tool.run("dead", "list", "--reason", "Unheard")
    assert "0 of 6 dead letters shown (the others do not match)" in done.stderr


@pytest.mark.usefixtures("buried")
def test_a_program_gets_the_job_as_it_was_pushed(tool: Tool) -> None:
    (letter,) = json.loads(tool.run("dead", "show", "worker-3", "-o", "json").stdout)
    assert letter["job"] == {"filename": "2026/3.jpg"}
    assert (letter["id"], letter["reason"], letter["attempts"]) == ("worker-3", "Timeout", 1)
    assert "worker-3" in tool.run("dead", "show", "worker-3").stdout


@pytest.mark.parametrize("verb", [["show"], ["requeue"], ["drop", "--yes"], ["drop", "--dry-run"]])
@pytest.mark.usefixtures("buried")
def test_an_unknown_id_is_an_error_and_the_others_are_served(tool: Tool, verb: list[str]) -> None:
    done = tool.run("dead", *verb, "worker-3", "nobody")
    assert done.returncode == 1
    assert "no dead letter is called nobody" in done.stderr
    assert done.stdout


@pytest.mark.usefixtures("buried")
def test_the_chosen_ones_go_back_in_their_old_order(tool: Tool, queue: Queue) -> None:
    done = tool.run(
        "dead", "requeue", "--match", "*2026/*", "--reason", "Timeout", "--since", "1h"
    )
    assert (done.returncode, done.stdout) == (0, "3 dead letters requeued\n")
    names = [json.loads(raw)["filename"] for raw in queue.waiting()]
    assert names == ["2026/5.jpg", "2026/3.jpg", "2026/1.jpg"]  # read from the tail
    assert queue.snapshot().dead == 3


@pytest.mark.parametrize("verb", [["requeue"], ["drop"]])
@pytest.mark.usefixtures("buried")
def test_a_dry_run_says_all_and_does_nothing(tool: Tool, queue: Queue, verb: list[str]) -> None:
    done = tool.run("dead", *verb, "--all", "--dry-run")
    assert done.returncode == 0
    assert f"6 dead letters would be {verb[0].removesuffix('p')}" in done.stdout
    assert (queue.snapshot().dead, queue.snapshot().waiting) == (6, 0)


@pytest.mark.usefixtures("buried")
def test_dropped_letters_leave_nothing_behind(tool: Tool, client: "redis.Redis") -> None:
    assert tool.run("dead", "drop", "--reason", "Timeout", "--yes").returncode == 0
    assert client.zcard(f"{{{tool.name}}}:dead") == 3
    assert client.hlen(f"{{{tool.name}}}:jobs") == 3
    assert tool.run("dead", "drop", "--all", "--yes").stdout == "3 dead letters dropped\n"
    assert client.exists(f"{{{tool.name}}}:dead", f"{{{tool.name}}}:jobs") == 0


def test_letters_older_than_asked_for_are_left_alone(
    tool: Tool, queue: Queue, client: "redis.Redis", buried: list[str]
) -> None:
    hours = 3_600_000
    client.zadd(queue.keys.dead, {buried[0]: queue.now_ms() - 3 * hours})
    assert tool.run("dead", "requeue", "--since", "2h").stdout == "5 dead letters requeued\n"
    assert [letter.id for letter in queue.letters()] == [buried[0]]


def many(queue: Queue, client: "redis.Redis", number: int) -> set[bytes]:
    """Bury many at once, in the envelopes that the worker's scripts write."""
    jobs = {f"w-{n}": b'{"filename": "%d.jpg"}' % n for n in range(number)}
    packed = {name: f"{name} 5 0 1 Timeout slow\n".encode() + raw for name, raw in jobs.items()}
    client.hset(queue.keys.jobs, mapping=packed)  # type: ignore[arg-type]
    client.zadd(queue.keys.dead, {name: n // 1000 for n, name in enumerate(jobs)})
    return set(jobs.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_requeue_loses_and_doubles_nothing(
    tool: Tool, queue: Queue, client: "redis.Redis", number: int
) -> None:
    def interrupt() -> set[bytes]:
        client.delete(tool.name)
        jobs = many(queue, client, 60_000)
        process = tool.start("dead", "requeue", "--all")
        eventually(lambda: client.llen(tool.name) >= SCRIPT_BATCH, "some are back")
        process.send_signal(number)
        process.communicate(timeout=60)
        return jobs if queue.snapshot().dead else set()  # else it was through before

    jobs = eventually(interrupt, "an interruption in the middle")
    back = client.lrange(tool.name, 0, -1)
    left = [letter.raw for letter in queue.letters()]
    assert len(back) + len(left) == len(jobs)
    assert {*back, *left} == jobs
    assert tool.run("dead", "requeue", "--all").returncode == 0
    assert sorted(client.lrange(tool.name, 0, -1)) == sorted(jobs)


def test_two_who_requeue_at_once_share_the_work(
    tool: Tool, queue: Queue, client: "redis.Redis"
) -> None:
    jobs = many(queue, client, 5000)
    done: list[int] = []
    both = [
        threading.Thread(
            target=lambda: done.append(tool.run("dead", "requeue", "--all").returncode)
        )
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert done == [0, 0]
    assert sorted(client.lrange(tool.name, 0, -1)) == sorted(jobs)


def test_what_dies_during_a_requeue_is_not_requeued_again_and_again(
    tool: Tool, queue: Queue, client: "redis.Redis", leases: Leases
) -> None:
    many(queue, client, 3000)
    stop = threading.Event()

    def bury_at_once() -> None:
        number = 0
        while not stop.is_set():
            claim = leases.claim("grim", f"grim-{number}")
            number += 1
            if claim.lease is not None:
                leases.bury(claim.lease.name, reason="Timeout", sentence="again")

    worker = threading.Thread(target=bury_at_once)
    worker.start()
    try:
        done = tool.run("dead", "requeue", "--all")
    finally:
        stop.set()
        worker.join()
    assert done.stdout == "3,000 dead letters requeued\n"
    seen = queue.snapshot()
    assert seen.dead + seen.waiting == 3000
