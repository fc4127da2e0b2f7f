"""The systemd unit of deploy/second-machine, installed as docs/second-machine.md says, and run."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from guest.inside import kernel
from guest.inside.pod import JOBS, PATIENCE, PHOTOS, REDIS
from support.photos import faults_of_thumbnail
from support.queue_state import QueueState
from support.waiting import eventually

DEPLOY = Path("/opt/deploy/second-machine")
UNIT = "image-worker"
ENVIRONMENT = Path("/etc/image-worker/image-worker.env")
FOLDERS = Path("/photos")
RIGHTS = """
on >change-me resetchannels -@all ~queue:images ~{queue:images}:*
+evalsha +eval +blmove +info +client|setname +time +get +set +lpop +lpush +rpop
+hget +hset +hdel +hincrby +del +pexpire +zadd +zrem +zscore +zrange +zcount
"""
"""Those of docs/protocol.md, for the password of the environment file."""


def systemctl(*words: str) -> str:
    """Return what systemctl says; it must succeed."""
    done = subprocess.run(
        ("systemctl", *words), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{journal()}"
    return done.stdout.strip()


def journal() -> str:
    """Return what the unit said."""
    command = ("journalctl", "--unit", UNIT, "--no-pager", "--lines=60")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout


@pytest.fixture
def queue(empty_queue: None) -> Iterator[QueueState]:
    """The unit runs with the cores 2 and 3, as it is written."""
    del empty_queue
    if subprocess.run(("id", UNIT), capture_output=True, check=False).returncode:
        command = ("useradd", "--system", "--home-dir", "/var/lib/image-worker", "--create-home")
        subprocess.run((*command, UNIT), check=True, timeout=PATIENCE)
    for name in ("in", "out"):
        (FOLDERS / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(FOLDERS / name, UNIT, UNIT)
    for photo in PHOTOS:
        (FOLDERS / "in" / photo.filename).write_bytes(photo.jpeg())
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    text = (DEPLOY / ENVIRONMENT.name).read_text()
    ENVIRONMENT.write_text(text.replace("rediss://redis.example.com:6379/0", REDIS))
    ENVIRONMENT.chmod(0o600)
    shutil.copy(DEPLOY / f"{UNIT}.service", "/etc/systemd/system")
    with redis.Redis.from_url(REDIS) as client:
        client.execute_command("ACL", "SETUSER", "worker", *RIGHTS.split())
        systemctl("daemon-reload")
        systemctl("start", UNIT)
        yield QueueState(client)
        systemctl("stop", UNIT)
        systemctl("revert", UNIT)


def workers(queue: QueueState, *cpus: str) -> list[dict[str, str]]:
    """Return the workers' records once they tell of these cores."""

    def told() -> list[dict[str, str]] | None:
        records = [queue.record(worker) for worker in queue.members("workers")]
        found = sorted(record.get("affinity", "") for record in records)
        return records if found == [*cpus] else None

    return eventually(told, journal, seconds=PATIENCE, every=0.25)


def tasks() -> list[int]:
    """Return the unit's processes, its supervisor first."""
    group = systemctl("show", "--value", "--property=ControlGroup", UNIT)
    main = int(systemctl("show", "--value", "--property=MainPID", UNIT))
    listed = Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()
    return [main, *(pid for pid in map(int, listed) if pid != main)]


def check_the_unit_starts_a_pinned_process_on_each_of_its_cores(queue: QueueState) -> None:
    records = workers(queue, "2", "3")
    assert {record["node"] for record in records} == {os.uname().nodename}
    assert {record["pod"] for record in records} == {""}, "no pod of any pool"
    assert {record["granted"] for record in records} == {"2-3"}
    assert {record["online"] for record in records} == {"0-3"}
    main, *others = tasks()
    assert kernel.allowed(main) == "2-3"
    assert {"2", "3"} <= {kernel.allowed(task) for task in others}
    assert Path(f"/proc/{main}").owner() == UNIT

    queue.push(*JOBS)
    eventually(lambda: queue.stats.get("done") == len(JOBS), journal, seconds=PATIENCE)
    for photo in PHOTOS:
        file = next((FOLDERS / "out").rglob(f"{Path(photo.filename).stem}*"))
        assert faults_of_thumbnail(photo, file, 256) == []


def check_its_processes_move_while_they_work(queue: QueueState) -> None:
    workers(queue, "2", "3")
    systemctl("set-property", "--runtime", UNIT, "AllowedCPUs=3")
    workers(queue, "3", "3")
    queue.push(*JOBS)
    eventually(lambda: queue.stats.get("done") == len(JOBS), journal, seconds=PATIENCE)


def check_systemctl_stop_lets_running_jobs_finish(queue: QueueState) -> None:
    workers(queue, "2", "3")
    count = 100 * len(JOBS)
    queue.push(*JOBS * 100)
    eventually(lambda: queue.members("inflight"), journal, seconds=PATIENCE)
    systemctl("stop", UNIT)
    done, waiting = queue.stats.get("done", 0), len(queue.waiting)
    assert 0 < done < count
    assert done + waiting == count
    assert queue.members("inflight") == queue.members("retry") == queue.members("workers") == {}
    assert queue.stats.get("crashed", 0) == 0
    assert systemctl("show", "--value", "--property=Result", UNIT) == "success"
