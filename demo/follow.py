"""Run the photos through the pool and show it live until the pool is back at zero.

Knows which streams to listen to and when to give up; what they mean is `progress`'s, how it looks
is `view`'s.
"""

import queue
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo import view
from demo.cluster import Cluster
from demo.errors import CommandFailed, TimedOut
from demo.progress import DEPLOYMENT_FORMAT, POOL_FORMAT, Progress
from demo.terminal import Terminal, duration
from demo.view import Snapshot

STALL_SECONDS = 120
_FRAME_SECONDS = 0.125
_SAMPLE_SECONDS = 0.25
_PLAIN_SECONDS = 2.0
_LAST_WORD_SECONDS = 1.2
"""The operator writes a pool's status once a second at most: its last word comes after the end."""
_PRODUCER, _DEPLOYMENT, _POOL, _ENDED = "producer", "deployment", "pool", "ended"


@dataclass(frozen=True, slots=True)
class Run:
    """What to run and where to look."""

    namespace: str
    pool: str
    producer: str
    photos: int
    max_replicas: int
    stabilization_seconds: int


class Follower:
    """Listens to three streams, draws frames and keeps samples."""

    def __init__(self, cluster: Cluster, terminal: Terminal, run: Run) -> None:
        self.progress = Progress(run.photos)
        self.samples: list[Snapshot] = []
        self._cluster = cluster
        self._terminal = terminal
        self._run = run
        self._heard: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._over = threading.Event()
        self._drawn_at = self._sampled_at = self._said_at = float("-inf")
        self._said: Snapshot | None = None

    def follow(self) -> None:
        """Push the photos and return once the pool is back at zero; raise TimedOut on a stall."""
        watch = ("-n", self._run.namespace, "-w", "-o")
        deployment = ("get", "deployment", f"{self._run.pool}-worker", *watch, DEPLOYMENT_FORMAT)
        pool = ("get", "workerpool", self._run.pool, *watch, POOL_FORMAT)
        produce = ("exec", "-n", self._run.namespace, self._run.producer, "--")
        command = ("python", "-m", "demo.producer", "run", "--count", str(self._run.photos))
        try:
            self._listen(_DEPLOYMENT, deployment)
            self._listen(_POOL, pool)
            self._listen(_PRODUCER, (*produce, *command))
            self._loop()
        finally:
            self._over.set()
            for process in self._processes.values():
                process.terminate()

    def _loop(self) -> None:
        changed_at, last = time.monotonic(), self.progress.at(0)
        over_at = None
        while over_at is None or time.monotonic() - over_at < _LAST_WORD_SECONDS:
            self._hear()
            clock = time.monotonic()
            self.progress.look(clock)
            now = self.progress.at(clock)
            if self.progress.is_over and over_at is None:
                over_at = clock
            self._show(now, clock)
            if _counts(now) != _counts(last):
                changed_at, last = clock, now
            if clock - changed_at > self._patience():
                raise TimedOut(self._why(now))
        self._show(self.progress.at(time.monotonic()), float("inf"))

    def _patience(self) -> float:
        """Return how long nothing may change: the pool's own window comes on top."""
        return STALL_SECONDS + self._run.stabilization_seconds

    def _hear(self) -> None:
        try:
            source, line = self._heard.get(timeout=_FRAME_SECONDS)
        except queue.Empty:
            return
        if source == _PRODUCER:
            self.progress.hear_producer(line, time.monotonic())
        elif source == _DEPLOYMENT:
            self.progress.hear_deployment(line, time.monotonic())
        elif source == _POOL:
            self.progress.hear_pool(line)
        elif not self.progress.is_drained:
            raise CommandFailed(f"the producer ended early: {line}")

    def _show(self, now: Snapshot, clock: float) -> None:
        if not self.progress.has_begun:
            return
        scaled = not self.samples or _pods(self.samples[-1]) != _pods(now)
        if scaled or clock - self._sampled_at >= _SAMPLE_SECONDS:
            self.samples.append(now)
            self._sampled_at = clock
        if self._terminal.is_live:
            if clock - self._drawn_at >= _FRAME_SECONDS:
                self._draw(now)
                self._drawn_at = clock
            return
        if (
            self._said is None
            or self._said.replicas != now.replicas
            or clock - self._said_at >= _PLAIN_SECONDS
        ):
            self._terminal.line(view.plain(now, self._run.photos))
            self._said, self._said_at = now, clock

    def _draw(self, now: Snapshot) -> None:
        past = [*self.samples, now]
        run, width = self._run, self._terminal.width
        lines = view.render(past, run.photos, run.max_replicas, width, self._terminal.paint)
        self._terminal.redraw(lines)

    def _listen(self, source: str, words: tuple[str, ...]) -> None:
        read = self._read_to_the_end if source == _PRODUCER else self._read_again
        threading.Thread(target=read, args=(source, words), daemon=True).start()

    def _read_once(self, source: str, words: tuple[str, ...]) -> None:
        process = self._processes[source] = self._cluster.stream(*words)
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            self._heard.put((source, line))

    def _read_to_the_end(self, source: str, words: tuple[str, ...]) -> None:
        self._read_once(source, words)
        errors = self._processes[source].stderr
        assert errors is not None  # noqa: S101 - a pipe was asked for
        self._heard.put((_ENDED, errors.read().strip()))

    def _read_again(self, source: str, words: tuple[str, ...]) -> None:
        """Keep a watch open: the API server ends each one sooner or later."""
        while not self._over.wait(0.5 if source in self._processes else 0):
            self._read_once(source, words)

    def _why(self, now: Snapshot) -> str:
        namespace = self._run.namespace
        counts = view.plain(now, self._run.photos)
        return (
            f"nothing has changed for {duration(self._patience())}:\n{counts}\n"
            f"    The operator's last word: {now.message or 'none'}\n"
            f"    Look at: kubectl -n {namespace} get wp,pods\n"
            f"             kubectl -n {namespace} logs -l workerpool.dev/pool={self._run.pool}\n"
            f"             kubectl -n {namespace} describe wp {self._run.pool}\n"
            f"             kubectl -n {namespace} logs -l app.kubernetes.io/component=operator"
        )


def _pods(now: Snapshot) -> tuple[int | None, ...]:
    return now.replicas, now.ready


def _counts(now: Snapshot) -> tuple[int | None, ...]:
    return now.waiting, now.busy, now.replicas, now.ready, now.done, now.dead


def wait_until(
    condition: Callable[[], bool],
    otherwise: Callable[[], str],
    *,
    timeout_seconds: float,
    poll_seconds: float = 0.25,
) -> None:
    """Return as soon as the condition holds; raise TimedOut with `otherwise()` if it does not."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(f"{otherwise()} (waited {duration(timeout_seconds)})")
        time.sleep(poll_seconds)
