"""A world without a process: streams in memory, a clock that only pauses move, a fake kubectl."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from workerpool_cli.__main__ import main
from workerpool_cli.console import Console
from workerpool_cli.session import World

FAKE = Path(__file__).with_name("fake_kubectl.py")


class Stream(StringIO):
    def __init__(self, text: str = "", *, tty: bool = False) -> None:
        super().__init__(text)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@dataclass
class Stage:
    """One call of the tool, and all it could see and say."""

    environ: dict[str, str] = field(default_factory=dict)
    out: Stream = field(default_factory=Stream)
    err: Stream = field(default_factory=Stream)
    stdin: Stream = field(default_factory=Stream)
    now: float = 0.0

    def world(self) -> World:
        console = Console(self.out, self.err, self.environ, self.clock)
        return World(self.environ, self.stdin, console, self.clock, self.pause, self.within)

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def within(self, _seconds: float | None) -> nullcontext[None]:
        """Nothing here ever waits in earnest."""
        return nullcontext()

    def run(self, *words: str) -> int:
        return main(words, self.world())


@dataclass(frozen=True)
class Cluster:
    """What the fake kubectl knows."""

    folder: Path
    program: str

    def set(self, **state: object) -> None:
        """Have it hold this and nothing else."""
        with self._locked():
            self._write(state)

    def change(self, **state: object) -> None:
        """Have it hold this besides what it holds, whoever else changes that just now."""
        with self._locked():
            self._write({**self._read(), **state})

    @property
    def state(self) -> dict[str, Any]:
        with self._locked():
            return self._read()

    @property
    def calls(self) -> list[list[str]]:
        calls = self.folder / "calls"
        with self._locked():
            lines = calls.read_text().splitlines() if calls.exists() else []
        return [json.loads(line) for line in lines]

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return state

    def _write(self, state: dict[str, Any]) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def pool_body(**spec: object) -> dict[str, Any]:
    """Return a WorkerPool as the API server stores it."""
    return {
        "metadata": {"namespace": "shop", "name": "images", "generation": 3},
        "spec": {
            "queue": {"list": "queue:images", "redis": {"url": "redis://redis:6379/0"}},
            "minReplicas": 0,
            "maxReplicas": 16,
            "job": {"timeoutSeconds": 120, "maxAttempts": 5},
            **spec,
        },
        "status": {
            "observedGeneration": 3,
            "replicas": 2,
            "desiredReplicas": 4,
            "reason": "Backlog",
            "message": "40 waiting: 4 replicas",
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Applied", "message": "as wanted"}
            ],
        },
    }
