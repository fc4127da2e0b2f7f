"""The same supervisor outside Kubernetes: the files of deploy/second-machine, run as they are.

Only what differs from machine to machine is replaced: the program's path, cores and ports.
"""

import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from image_worker import settings
from support import planned_supervisor
from support.gate import Gate
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.waiting import eventually

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "second-machine"
PROGRAM = "/opt/image-worker/bin/python -m image_worker"
PORT = "8%(process_num)03d"
CPUS = sorted(os.sched_getaffinity(0))
EXPOSURE_MOST = 20
"""Tenths, as `systemd-analyze security` counts; a service without hardening has 96."""
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def environment() -> dict[str, str]:
    """Return the variables of the environment file."""
    lines = (FOLDER / "image-worker.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_environment_file_is_understood() -> None:
    read = settings.read(environment())
    assert read.keys.list == "queue:images"
    assert read.redis.password == "change-me"  # noqa: S105
    assert read.cpu.policy is settings.CpuPolicy.EXCLUSIVE


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists here."""
    text = (FOLDER / "image-worker.service").read_text()
    assert PROGRAM in text
    file = tmp_path / "image-worker.service"
    file.write_text(text.replace(PROGRAM, f"{shutil.which('python3')} -m image_worker"))
    return file


@needs_systemd
def test_systemd_finds_no_fault_with_the_unit(unit: Path) -> None:
    done = analyze("verify", str(unit))
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []


@needs_systemd
def test_the_unit_is_as_confined_as_systemd_can_tell(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MOST}", str(unit))
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_unit_gives_a_job_the_time_it_may_take() -> None:
    text = (FOLDER / "image-worker.service").read_text()
    seconds = int(environment()["WORKERPOOL_JOB_TIMEOUT_SECONDS"])
    assert f"\nTimeoutStopSec={seconds + 10}\n" in text
    assert "\nKillMode=mixed\n" in text, "SIGTERM is the supervisor's alone"
    conf = (FOLDER / "supervisord.conf").read_text()
    assert f"\nstopwaitsecs={seconds + 10}\n" in conf
    assert "\nstopasgroup=false\n" in conf


def test_under_supervisord_workers_are_no_root_and_have_a_port_each() -> None:
    """supervisord opens its standard output anew, which under another user than root it cannot."""
    conf = (FOLDER / "supervisord.conf").read_text()
    daemon, program = conf.split("[program:image-worker]")
    assert "\nuser=root\n" in daemon
    assert "\nuser=image-worker\n" in program
    assert f'WORKERPOOL_HTTP_PORT="{PORT}"' in program
    ports = [int(PORT % {"process_num": number}) for number in range(1000)]
    assert ports == list(range(8000, 9000))


@pytest.mark.skipif(CPUS[:2] != [0, 1], reason="needs the cores 0 and 1")
def test_supervisord_runs_a_pinned_worker_on_each_core_and_sees_them_off(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    for name in ("a.jpg", "b.jpg", "slow.jpg"):
        (tmp_path / "in" / name).write_bytes(jpeg((640, 480)))
    with supervisord(server, tmp_path) as process:
        workers = eventually(lambda: two_known(queue), lambda: log(tmp_path))
        records = [queue.record(worker) for worker in workers]
        assert sorted(record["affinity"] for record in records) == ["0", "1"]
        assert {record["pod"] for record in records} == {""}, "no pod of any pool"
        assert {record["node"] for record in records} == {os.uname().nodename}

        queue.push('{"filename": "a.jpg"}', '{"filename": "b.jpg"}')
        eventually(lambda: queue.stats.get("done") == 2, lambda: log(tmp_path))
        gate = Gate(tmp_path)
        queue.push(json.dumps({"filename": "slow.jpg", "plan": gate.plan}))
        gate.await_begun()
        process.send_signal(signal.SIGTERM)
        eventually(lambda: log(tmp_path).count("draining: ") == 2, lambda: log(tmp_path))
        gate.open()
        assert process.wait(60) == 0, log(tmp_path)
    assert queue.stats["done"] == 3, "what ran was finished"
    assert queue.stats.get("crashed", 0) == 0
    assert queue.members("workers") == {}, "they said goodbye"


def two_known(queue: QueueState) -> list[str] | None:
    """Return the workers once there are two, both with a child that told of its core."""
    workers = list(queue.members("workers"))
    told = [worker for worker in workers if queue.record(worker).get("affinity")]
    return told if len(told) == 2 else None


@contextmanager
def supervisord(server: RedisServer, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run supervisord with our configuration."""
    text = (FOLDER / "supervisord.conf").read_text()
    command = " ".join(planned_supervisor.COMMAND)
    for old, new in (
        (PROGRAM, command),
        ("numprocs_start=2", "numprocs_start=0"),
        (f'WORKERPOOL_HTTP_PORT="{PORT}"', 'WORKERPOOL_HTTP_PORT="0"'),
        ("user=root", f"user={getpass.getuser()}"),
        ("user=image-worker", f"user={getpass.getuser()}"),
        ("pidfile=/run", f"pidfile={folder}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "supervisord.conf").write_text(text)
    variables = environment() | {
        "WORKERPOOL_REDIS_URL": server.url,
        "WORKERPOOL_INPUT_DIR": str(folder / "in"),
        "WORKERPOOL_OUTPUT_DIR": str(folder / "out"),
        "WORKERPOOL_LEASE_SECONDS": "9",  # neither takes a job of the other over
    }
    secrets = ("WORKERPOOL_REDIS_USERNAME", "WORKERPOOL_REDIS_PASSWORD")
    variables = {name: value for name, value in variables.items() if name not in secrets}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKERPOOL_")}
    with (folder / "log").open("wb") as log_file:
        process = subprocess.Popen(
            (sys.executable, "-m", "supervisor.supervisord", "-c", folder / "supervisord.conf"),
            env=inherited | variables,
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def log(folder: Path) -> str:
    return re.sub(r"\n+", "\n", (folder / "log").read_text(errors="replace"))[-4000:]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("systemd-analyze", *words), capture_output=True, text=True, timeout=60, check=False
    )
