"""A real `python -m image_worker` on this machine, as a context manager.

It knows how to start one, read its log, find its children, and end it; all it starts it ends,
by process id.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.context import Context
from support.queue_state import LIST
from support.waiting import eventually

COMMAND = (sys.executable, "-m", "image_worker")
ANSWER_SECONDS = END_SECONDS = 60.0
ERRORS = "image_worker_redis_errors_total{"


class Supervisor(Context):
    """One supervisor with its children; photos go from `folder/in` to `folder/out`."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        *,
        command: tuple[str, ...] = COMMAND,
        **variables: str,
    ) -> None:
        self.folder = folder
        self._command = command
        self._environ: Mapping[str, str] = {
            **{k: v for k, v in os.environ.items() if not k.startswith("WORKERPOOL_")},
            "WORKERPOOL_QUEUE": LIST,
            "WORKERPOOL_REDIS_URL": redis_url,
            "WORKERPOOL_INPUT_DIR": str(folder / "in"),
            "WORKERPOOL_OUTPUT_DIR": str(folder / "out"),
            "WORKERPOOL_HTTP_PORT": "0",
            "WORKERPOOL_LEASE_SECONDS": "3",
            **{f"WORKERPOOL_{name.upper()}": value for name, value in variables.items()},
        }
        self.log: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def _begin(self) -> None:
        for name in ("in", "out"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        process.wait(END_SECONDS)
        if self._reader is not None:
            self._reader.join(END_SECONDS)
        assert process.stdout is not None
        process.stdout.close()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """Return the process ids of the decoding children."""
        return children_of(self.pid)

    def lines(self, message: str = "", **facts: object) -> list[dict[str, Any]]:
        """Return the log lines whose message contains these words, and that state these facts."""
        return [
            line
            for line in list(self.log)
            if message in str(line["message"]) and facts.items() <= line.items()
        ]

    def await_line(
        self, message: str = "", *, seconds: float = 60, **facts: object
    ) -> dict[str, Any]:
        """Return the first such line: it may come later than what it tells of is seen in Redis."""
        return eventually(
            lambda: self.lines(message, **facts),
            seconds=seconds,
            what=lambda: f"a log line with {message!r} and {facts} in {self.log}",
        )[0]

    def await_ready(self) -> None:
        eventually(
            lambda: self.get("/readyz")[0] == 200,
            what=lambda: f"ready; it logged {self.log}",
        )

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP endpoint."""
        port = self.await_line("starting")["http_port"]
        try:
            url = f"http://127.0.0.1:{port}{path}"
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, line_start: str) -> float:
        """Return the sum of the metric lines that start so."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith(line_start)
        )

    def await_metric(self, line_start: str, value: float) -> None:
        """Wait for a value: it may come later than what it counts is seen in Redis."""
        eventually(
            lambda: self.metric(line_start) == value,
            lambda: f"{line_start} {value:g}, and not {self.metric(line_start):g}: {self.log}",
        )

    def troubles(self) -> list[str]:
        """Return the metric lines that tell of trouble with Redis.

        A time that was up is none: it is, too, when the machine stood still while a worker waited.
        """
        return [
            line
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith(ERRORS) and 'reason="Timeout"' not in line
        ]

    def terminate(self, *, seconds: float = 60) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"message": f"(no JSON) {line}"})


def children_of(pid: int) -> list[int]:
    """Return the processes that this one has started and not buried."""
    found: set[int] = set()
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Threads come and go; those that have children stay.
            with suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, (task / "children").read_text().split()))
    return sorted(found)
