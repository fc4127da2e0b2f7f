"""The tool and the worker as processes, a real Redis between them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import redis

from image_worker.keys import keys_of as worker_keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from support.redis_server import RedisServer
from unit.cli.conftest import cluster
from workerpool_cli.address import parse
from workerpool_cli.keys import keys_of
from workerpool_cli.link import Link
from workerpool_cli.queues import Queue

__all__ = ["cluster"]

END_SECONDS = 60.0
_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@dataclass
class Tool:
    """The `workerpool` command and the queue it is pointed to."""

    server: RedisServer
    name: str
    environ: dict[str, str] = field(default_factory=dict)
    started: ExitStack = field(default_factory=ExitStack)

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start it; what still runs is ended with the test."""
        process = subprocess.Popen(
            self.command(*words),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
        )
        self.started.callback(_close, process)
        return process

    @staticmethod
    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "workerpool_cli", *words]

    @property
    def environment(self) -> dict[str, str]:
        own = {"WORKERPOOL_REDIS_URL": self.server.url, "WORKERPOOL_QUEUE": self.name}
        return {**os.environ, **own, **self.environ}


@pytest.fixture
def tool(server: RedisServer) -> Iterator[Tool]:
    made = Tool(server, f"queue:{next(_numbers)}")
    with made.started:
        yield made


@pytest.fixture
def client(server: RedisServer) -> "redis.Redis":
    return server.client()


@pytest.fixture
def queue(tool: Tool) -> Iterator[Queue]:
    """The tool's own calls on the same queue."""
    link = Link(parse(tool.server.url, "the server's address"))
    yield Queue(link, keys_of(tool.name))
    link.close()


@pytest.fixture
def leases(tool: Tool) -> Iterator[Leases]:
    """The worker's calls on the same queue."""
    link = connect(RedisSettings(tool.server.url, None, None, None), "test")
    yield Leases(link, worker_keys_of(tool.name), timedelta(minutes=10))
    link.close()


@dataclass
class Workers:
    """Starts image workers, and ends those that still run."""

    tool: Tool
    folder: Path
    stack: ExitStack

    @property
    def photos(self) -> Path:
        return self.folder / "in"

    def start(self, **environ: str) -> subprocess.Popen[bytes]:
        environment = {
            **self.tool.environment,
            "WORKERPOOL_INPUT_DIR": str(self.photos),
            "WORKERPOOL_OUTPUT_DIR": str(self.folder / "out"),
            "WORKERPOOL_HTTP_PORT": "0",
            # Beyond a stall of a busy machine: no job is done twice.
            "WORKERPOOL_LEASE_SECONDS": "12",
            **environ,
        }
        log = self.stack.enter_context((self.folder / "worker.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "image_worker"], env=environment, stderr=log, stdout=log
        )
        self.stack.callback(_end, process)
        return process


@pytest.fixture
def workers(tool: Tool, tmp_path: Path) -> Iterator[Workers]:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        yield Workers(tool, tmp_path, stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
