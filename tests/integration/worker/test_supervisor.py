"""The whole worker as a pod runs it: real processes, real Redis, real photos."""

import io
import json
import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from support import planned_supervisor
from support.gate import Gate
from support.pictures import encoded, jpeg, picture
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import COMMAND, Supervisor
from support.waiting import eventually


def put(folder: Path, name: str, data: bytes | None = None) -> None:
    file = folder / "in" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg((640, 480)) if data is None else data)


def job(filename: str, plan: str = "") -> str:
    return json.dumps({"filename": filename, "plan": plan})


def await_quiet(queue: QueueState, *, done: int) -> None:
    eventually(
        lambda: queue.quiet and queue.stats.get("done", 0) >= done,
        what=lambda: f"{done} done: {queue.stats}, {queue.members('retry')}",
    )


def planned(server: RedisServer, folder: Path, **variables: str) -> Supervisor:
    return Supervisor(server.url, folder, command=planned_supervisor.COMMAND, **variables)


def thumbnail(folder: Path, name: str) -> Image.Image:
    image = Image.open(io.BytesIO((folder / "out" / name).read_bytes()))
    image.load()
    return image


def test_photos_become_thumbnails(server: RedisServer, queue: QueueState, tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "2026/11/turned.JPG", jpeg((640, 480), orientation=6))
    put(tmp_path, "alpha.png", encoded(picture((300, 300), "RGBA"), "PNG"))
    put(tmp_path, "tiny.webp", encoded(picture((8, 6)), "WEBP"))
    names = ["a.jpg", "2026/11/turned.JPG", "alpha.png", "tiny.webp"]
    queue.push(*map(job, names))
    with Supervisor(server.url, tmp_path) as supervisor:
        await_quiet(queue, done=4)
        supervisor.await_ready()
        assert thumbnail(tmp_path, "a.jpg").size == (256, 192)
        assert thumbnail(tmp_path, "2026/11/turned.JPG").size == (192, 256)
        assert thumbnail(tmp_path, "alpha.png.jpg").size == (256, 256)
        assert thumbnail(tmp_path, "tiny.webp.jpg").size == (8, 6)
        assert queue.jobs == 0
        assert queue.stats["done"] == 4
        assert supervisor.get("/healthz") == (200, "ok\n")
        supervisor.await_metric('image_worker_jobs_total{outcome="done"}', 4)
        supervisor.await_metric("image_worker_job_seconds_count", 4)
        supervisor.await_metric("image_worker_in_flight", 0)
        line = supervisor.await_line(filename="a.jpg")
        assert line["outcome"] == "done"
        assert line["job"]
        (worker,) = queue.members("workers")
        (child,) = supervisor.children()
        eventually(lambda: queue.record(worker).get("pid") == str(child), "a record of the child")
        assert supervisor.terminate() == 0
    leftovers = [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]
    assert leftovers == []


def test_who_says_when_a_job_was_pushed_learns_how_long_jobs_wait(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    now = time.time()
    queue.push(
        job("a.jpg"),
        json.dumps({"filename": "a.jpg", "pushedAt": now - 200}),
        json.dumps({"filename": "a.jpg", "pushedAt": now + 3600}),
    )
    with Supervisor(server.url, tmp_path) as supervisor:
        await_quiet(queue, done=3)
        supervisor.await_ready()
        # One job says nothing.
        supervisor.await_metric("image_worker_wait_seconds_count", 2)
        assert supervisor.metric('image_worker_wait_seconds_bucket{le="0.005"}') == 1
        assert supervisor.metric('image_worker_wait_seconds_bucket{le="120"}') == 1
        eventually(lambda: supervisor.metric("image_worker_wait_seconds_sum") >= 200, "their sum")


def test_what_is_no_job_is_buried_with_a_reason_and_the_loop_goes_on(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "good.jpg")
    put(tmp_path, "text.jpg", b"these are words")
    put(tmp_path, "cut.jpg", jpeg((640, 480))[:2000])
    put(tmp_path, "empty.jpg", b"")
    (tmp_path / "in" / "link.jpg").symlink_to("/etc/hostname")
    (tmp_path / "in" / "out-of-here").symlink_to("/etc")
    bad = {
        b"no json": "BadJson",
        b"\x00\xff": "BadJson",
        b"[" * 50_000: "BadJson",
        b"[]": "BadPayload",
        b"{}": "MissingFilename",
        b'{"filename": "../secret"}': "BadFilename",
        b'{"filename": "/etc/hostname"}': "BadFilename",
        b'{"filename": "a\\u0000b"}': "BadFilename",
        b'{"filename": "\\ud800"}': "BadFilename",
        b'{"filename": "link.jpg"}': "BadFilename",
        b'{"filename": "out-of-here/hostname"}': "BadFilename",
        b'{"filename": "good.jpg/x"}': "BadFilename",
        b'{"filename": "text.jpg"}': "NotAnImage",
        b'{"filename": "empty.jpg"}': "NotAnImage",
        b'{"filename": "cut.jpg"}': "BrokenImage",
        b" " * ((1 << 20) + 1): "PayloadTooLarge",
    }
    queue.push(*bad, job("good.jpg"))
    with Supervisor(server.url, tmp_path) as supervisor:
        await_quiet(queue, done=1)
        dead = {}
        for lease in queue.members("dead"):
            line, raw = queue.envelope(lease)
            dead[raw] = line.split(" ")[4]
        assert dead == bad
        assert queue.stats["dead"] == len(bad)
        assert supervisor.metric("image_worker_child_deaths_total") == 0
        assert supervisor.metric("image_worker_bugs_total") == 0
    assert thumbnail(tmp_path, "good.jpg").size == (256, 192)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.jpg"]


def most_resident(pid: int) -> int:
    """Return the most bytes of memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def test_payloads_of_many_megabytes_are_buried_and_the_supervisor_never_holds_them(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    large = b" " * (32 << 20)
    with Supervisor(server.url, tmp_path, lease_seconds="1") as supervisor:
        queue.push(job("a.jpg"))
        await_quiet(queue, done=1)
        eventually(lambda: queue.client.info("clients")["blocked_clients"], "one that waits")
        before = most_resident(supervisor.pid)
        queue.push(large, large, job("a.jpg"), large)
        await_quiet(queue, done=2)
        eventually(lambda: len(queue.members("dead")) == 3, "their burial")
        words = "the queue buried jobs that are longer than a worker takes"
        eventually(
            lambda: sum(line["jobs"] for line in supervisor.lines(words)) == 3, "their number"
        )
        assert {line["reason"] for line in supervisor.lines(words)} == {"PayloadTooLarge"}
        assert supervisor.metric('image_worker_jobs_total{outcome="rejected"}') == 3
        assert most_resident(supervisor.pid) - before < 8 << 20
        assert supervisor.troubles() == []
        assert supervisor.terminate() == 0
    for name in queue.members("dead"):
        line, raw = queue.envelope(name)
        assert " PayloadTooLarge the payload has 33554432 bytes; " in line
        assert raw == large
    assert queue.stats.get("crashed") is None


def test_a_file_that_comes_late_is_found_by_a_retry(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with Supervisor(server.url, tmp_path, job_max_attempts="100"):
        queue.push(job("late.jpg"))
        eventually(lambda: queue.stats.get("failed"), what="a first failed attempt")
        put(tmp_path, "late.jpg")
        await_quiet(queue, done=1)
    assert queue.stats["failed"] >= 1
    assert queue.members("dead") == {}


def test_a_job_that_fails_every_time_is_buried_with_its_last_reason(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server, tmp_path, job_max_attempts="2"):
        queue.push(job("a.jpg", "fail"))
        eventually(lambda: queue.members("dead"), what=lambda: f"a burial: {queue.stats}")
    (lease,) = queue.members("dead")
    assert " 2 0 " in queue.envelope(lease)[0]
    assert queue.envelope(lease)[0].endswith("Planned as planned")


def test_a_child_that_is_killed_in_a_job_is_replaced_and_the_job_is_done_once(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    with planned(server, tmp_path) as supervisor:
        gate = Gate(tmp_path)
        queue.push(job("a.jpg", gate.plan), job("b.jpg"))
        gate.await_begun()
        (victim,) = supervisor.children()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: supervisor.children() not in ([], [victim]), what="another child")
        gate.open()
        await_quiet(queue, done=2)
        supervisor.await_line("a child was killed by SIGKILL; starting the next one")
    assert queue.stats == {
        "done": 2,
        "crashed": 1,
        "busy_ms": queue.stats["busy_ms"],
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.jpg"]


def test_an_idle_child_that_is_killed_is_replaced_without_a_job_to_find_out(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    with Supervisor(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        (victim,) = supervisor.children()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: supervisor.children() not in ([], [victim]), what="another child")
        queue.push(job("a.jpg"))
        await_quiet(queue, done=1)
        assert queue.stats.get("crashed") is None


@pytest.mark.parametrize(
    ("limit", "plan", "reason"),
    [
        ({"child_jobs": "3"}, "noop", "jobs"),
        ({"child_rss_megabytes": "96"}, "keep:8", "memory"),
    ],
)
def test_children_are_replaced_between_jobs_and_no_job_notices(
    server: RedisServer,
    queue: QueueState,
    tmp_path: Path,
    limit: dict[str, str],
    plan: str,
    reason: str,
) -> None:
    queue.push(*[job("a.jpg", plan)] * 32)
    with planned(server, tmp_path, **limit) as supervisor:
        await_quiet(queue, done=32)
        recycled = f'image_worker_child_recycles_total{{reason="{reason}"}}'
        times = 10 if reason == "jobs" else 2
        supervisor.await_metric(recycled, times)
        # With no job to ask for the next one.
        supervisor.await_metric("image_worker_child_starts_total", times + 1)
        supervisor.await_metric('image_worker_jobs_total{outcome="done"}', 32)
        assert supervisor.metric("image_worker_child_deaths_total") == 0
        assert supervisor.metric('image_worker_jobs_total{outcome="released"}') == 0
        assert supervisor.await_line("has served its time")["reason"] == reason
        assert supervisor.terminate() == 0
    assert set(queue.stats) == {"done", "busy_ms"}
    assert queue.stats["done"] == 32


def test_a_job_does_not_wait_for_a_child_that_is_being_replaced(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    late = (*planned_supervisor.COMMAND, str(gate))
    with Supervisor(server.url, tmp_path, command=late, child_jobs="1") as supervisor:
        supervisor.await_ready()
        gate.unlink()
        queue.push(job("a.jpg", "noop"), job("b.jpg", "noop"))
        eventually(lambda: queue.stats.get("done") == 1, "the first job acknowledged")
        assert queue.waiting == [job("b.jpg", "noop").encode()], "for whoever has a child"
        assert queue.members("inflight") == {}
        gate.touch()
        await_quiet(queue, done=2)
        assert supervisor.metric('image_worker_jobs_total{outcome="released"}') == 0


def test_poison_is_buried_after_three_crashes_and_others_are_done(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    for name in "abc":
        put(tmp_path, f"{name}.jpg")
    with planned(server, tmp_path):
        queue.push(job("a.jpg"), job("poison", "die"), job("b.jpg"), job("c.jpg"))
        await_quiet(queue, done=3)
    (lease,) = queue.members("dead")
    line, raw = queue.envelope(lease)
    assert json.loads(raw)["filename"] == "poison"
    assert " 0 3 " in line
    assert line.endswith(
        "Poison it crashed 3 workers; the last time: its child was killed by SIGKILL"
    )


def test_a_job_that_takes_too_long_is_killed_and_has_failed(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    # More than a whole machine stands still, or it would be too long for the other one, too.
    with planned(server, tmp_path, job_timeout_seconds="7", job_max_attempts="1"):
        queue.push(job("hangs", "hang"), job("a.jpg"))
        await_quiet(queue, done=1)
    (lease,) = queue.members("dead")
    assert queue.envelope(lease)[0].endswith("Timeout it took longer than 7 s")
    assert queue.stats.get("crashed") is None


def test_sigterm_finishes_the_running_job_and_takes_no_other(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    with planned(server, tmp_path) as supervisor:
        supervisor.await_ready()
        gate = Gate(tmp_path)
        queue.push(job("a.jpg", gate.plan))
        gate.await_begun()
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.await_line("draining")
        queue.push(job("b.jpg"))
        assert supervisor.get("/readyz")[0] == 503
        gate.open()
        assert supervisor.process.wait(60) == 0
    assert queue.stats["done"] == 1
    assert queue.waiting == [job("b.jpg").encode()]
    assert queue.members("workers") == {}
    assert queue.members("inflight") == {}
    assert queue.jobs == 0
    assert thumbnail(tmp_path, "a.jpg").size == (256, 192)


def test_sigterm_twice_hands_the_running_job_back_uncounted(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with planned(server, tmp_path) as supervisor:
        supervisor.await_ready()
        queue.push(job("a.jpg", "hang"), job("b.jpg"))
        eventually(lambda: queue.members("inflight"), what="the job to run")
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.await_line("draining")
        assert supervisor.terminate() == 0
    assert queue.waiting == [job("a.jpg", "hang").encode(), job("b.jpg").encode()]
    assert queue.stats == {}
    assert queue.members("workers") == {}


def test_a_supervisor_that_is_killed_takes_its_children_along_and_others_take_its_job(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    gate = Gate(tmp_path)
    # A reaper that was held up for longer than its own lease blames nobody, nor does one for what
    # ends sooner than that after the start of Redis.
    with planned(server, tmp_path, lease_seconds="10") as first:
        first.await_ready()
        queue.push(job("a.jpg", gate.plan))
        gate.await_begun()
        (child,) = first.children()
        first.process.kill()
        first.process.wait(60)
        eventually(lambda: not Path(f"/proc/{child}").exists(), what="no orphaned child")
    assert len(queue.members("inflight")) == 1
    gate.open()
    with planned(server, tmp_path, lease_seconds="8"):
        await_quiet(queue, done=1)
        eventually(lambda: len(queue.members("workers")) == 1, what="the dead struck off")
    assert queue.stats["crashed"] == 1
    assert queue.members("dead") == {}
    assert thumbnail(tmp_path, "a.jpg").size == (256, 192)


def test_a_job_that_woke_a_worker_which_then_died_is_done_by_another(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    queue.push(job("a.jpg"))
    queue.client.blmove(queue.list, f"{queue.prefix}landing", 1, "LEFT", "RIGHT")
    queue.expire_by_script("workers", "gone")
    with Supervisor(server.url, tmp_path, lease_seconds="1"):
        await_quiet(queue, done=1)
        eventually(lambda: "gone" not in queue.members("workers"), what="it struck off")


def test_redis_may_restart_in_the_middle_of_a_job(tmp_path: Path) -> None:
    with RedisServer({"appendonly": "yes", "appendfsync": "always"}) as server:
        queue = QueueState(server.client())
        put(tmp_path, "a.jpg")
        put(tmp_path, "b.jpg")
        with planned(server, tmp_path, lease_seconds="1") as supervisor:
            supervisor.await_ready()
            (child,) = supervisor.children()
            gate = Gate(tmp_path)
            queue.push(job("a.jpg", gate.plan), job("b.jpg"))
            gate.await_begun()
            server.kill()
            supervisor.await_metric("image_worker_redis_up", 0)
            assert supervisor.get("/healthz")[0] == 200
            assert supervisor.get("/readyz")[0] == 200, "else it would be the first to go"
            # The job ends and several leases pass while Redis is away.
            gate.open()
            supervisor.await_line("the thumbnail is in place")
            server.start()
            await_quiet(queue, done=2)
            supervisor.await_ready()
            assert supervisor.children() == [child]
            assert supervisor.metric("image_worker_redis_errors_total") > 0
            assert supervisor.terminate() == 0
        assert queue.stats["done"] == 2
        assert queue.stats.get("crashed") is None, "nobody is blamed for the outage"
        assert queue.jobs == 0


def test_a_silent_redis_is_noticed_and_survived(tmp_path: Path) -> None:
    with RedisServer() as server:
        queue = QueueState(server.client())
        put(tmp_path, "a.jpg")
        with Supervisor(server.url, tmp_path) as supervisor:
            supervisor.await_ready()
            with server.frozen():
                supervisor.await_metric("image_worker_redis_up", 0)
                assert supervisor.get("/readyz")[0] == 200, "else it would be the first to go"
            queue.push(job("a.jpg"))
            await_quiet(queue, done=1)


def test_a_retired_pod_takes_no_job_until_it_is_called_back(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    with Supervisor(server.url, tmp_path, pod="images-worker-1") as supervisor:
        supervisor.await_ready()
        # It waits in Redis for a job, and the one it is woken for is no longer its own.
        (worker,) = eventually(lambda: queue.members("workers"), "the worker")
        assert worker.endswith("@images-worker-1")
        eventually(lambda: "idle" in queue.record(worker), "an idle worker")
        queue.client.zadd(queue.prefix + "retired", {"images-worker-1": queue.now_ms + 3_600_000})
        queue.push(job("a.jpg"))
        supervisor.await_line("retired: no more jobs")
        assert queue.waiting == [job("a.jpg").encode()]
        assert queue.stats == {}
        assert supervisor.get("/readyz")[0] == 200

        queue.client.delete(queue.prefix + "retired")
        await_quiet(queue, done=1)
        supervisor.await_line("called back")
        assert supervisor.terminate() == 0
    assert queue.members("workers") == {}


def test_redis_may_come_after_the_worker(tmp_path: Path) -> None:
    with RedisServer() as server:
        server.kill()
        put(tmp_path, "a.jpg")
        with Supervisor(server.url, tmp_path) as supervisor:
            supervisor.await_line("Redis is unavailable")
            assert supervisor.get("/readyz")[0] == 503
            server.start()
            queue = QueueState(server.client())
            queue.push(job("a.jpg"))
            await_quiet(queue, done=1)
            supervisor.await_ready()


def test_sigterm_ends_it_while_redis_is_away(tmp_path: Path) -> None:
    with RedisServer() as server, Supervisor(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        server.kill()
        supervisor.await_line("Redis is unavailable")
        assert supervisor.terminate() == 0


def test_a_supervisor_that_was_stopped_and_continued_goes_on(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    with Supervisor(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        for _ in range(3):
            supervisor.process.send_signal(signal.SIGSTOP)
            time.sleep(1.1)  # longer than one wait for signals, which then is over when it wakes
            supervisor.process.send_signal(signal.SIGCONT)
            supervisor.get("/healthz")
        queue.push(job("a.jpg"))
        await_quiet(queue, done=1)
        assert supervisor.terminate() == 0


def test_a_full_redis_is_emptied(server: RedisServer, queue: QueueState, tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path, f"{number}.jpg")
        queue.push(job(f"{number}.jpg"))
    queue.client.config_set("maxmemory", "1mb")
    try:
        with Supervisor(server.url, tmp_path) as supervisor:
            await_quiet(queue, done=20)
            supervisor.await_ready()
            assert supervisor.terminate() == 0
    finally:
        queue.client.config_set("maxmemory", "0")
    assert queue.members("dead") == {}


def test_an_exclusive_pod_pins_one_child_to_each_core(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with Supervisor(server.url, tmp_path, cpu_policy="Exclusive") as supervisor:
        eventually(
            lambda: len(supervisor.lines("a child is ready")) == len(cores),
            what="a child on each core",
        )
        affinities = [os.sched_getaffinity(child) for child in supervisor.children()]
        assert sorted(map(tuple, affinities)) == [(core,) for core in cores]

        def told() -> list[str]:
            records = [queue.record(worker) for worker in queue.members("workers")]
            return sorted(record.get("cpu", "") for record in records)

        eventually(lambda: told() == sorted(map(str, cores)), lambda: f"their cores: {told()}")


def test_children_follow_when_other_cores_are_granted(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores to tell apart")
    first, second = cores[:2]
    put(tmp_path, "a.jpg")
    on_first = ("taskset", "--cpu-list", str(first), *COMMAND)
    with Supervisor(server.url, tmp_path, command=on_first, cpu_policy="Exclusive") as supervisor:
        supervisor.await_ready()
        (child,) = supervisor.children()
        assert os.sched_getaffinity(child) == {first}

        os.sched_setaffinity(supervisor.pid, {second})
        eventually(
            lambda: os.sched_getaffinity(child) == {second},
            what=lambda: f"a child on core {second}; it logged {supervisor.log}",
        )
        supervisor.await_line(
            f"the cores have changed: one process pinned to each of the cores [{second}]"
        )
        os.sched_setaffinity(child, {first})  # as somebody who means well might do
        eventually(lambda: os.sched_getaffinity(child) == {second}, what="its being put back")
        queue.push(job("a.jpg"))
        await_quiet(queue, done=1)
        os.kill(child, signal.SIGKILL)
        (heir,) = eventually(
            lambda: [one for one in supervisor.children() if one != child], "the next child"
        )
        eventually(lambda: os.sched_getaffinity(heir) == {second}, what="its being there, too")
        (worker,) = queue.members("workers")
        eventually(
            lambda: queue.record(worker).get("cpu") == str(second), what="a record that says so"
        )


def test_a_child_has_no_credential_in_its_environment(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    queue.client.execute_command("ACL", "SETUSER", "w", "on", ">hunter2", "~*", "+@all")
    with Supervisor(
        server.url,
        tmp_path,
        redis_username="w",
        redis_password="hunter2",  # noqa: S106
    ) as supervisor:
        supervisor.await_ready()
        (child,) = supervisor.children()
        assert b"hunter2" in Path(f"/proc/{supervisor.pid}/environ").read_bytes()
        assert b"hunter2" not in Path(f"/proc/{child}/environ").read_bytes()
    queue.client.execute_command("ACL", "DELUSER", "w")


def test_a_wrong_environment_is_said_at_once_with_exit_2(tmp_path: Path) -> None:
    with Supervisor("http://redis", tmp_path, lease_seconds="soon") as supervisor:
        assert supervisor.process.wait(60) == 2


def test_an_idle_pod_of_one_core_is_small(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    put(tmp_path, "a.jpg")
    with Supervisor(server.url, tmp_path) as supervisor:
        queue.push(job("a.jpg"))
        await_quiet(queue, done=1)
        pids = [supervisor.pid, *supervisor.children()]
        assert len(pids) == 2
        resident_kib = sum(
            int(line.split()[1])
            for pid in pids
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Rss:")
        )
        assert resident_kib < 120 * 1024
