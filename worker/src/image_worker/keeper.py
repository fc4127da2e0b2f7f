"""Keeps one decoding child alive, and hands it one job at a time.

Two threads meet here: the keeper's own, which starts the child, waits for its death and
starts the next; and the worker's, which calls `run`.  It knows processes and signals; it must
not know Redis, and it never imports what the child imports.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from image_worker import cores, patience, wire
from image_worker.backoff import Backoff
from image_worker.wear import NEVER, Reason, Wear

CHILD_COMMAND = (sys.executable, "-m", "image_worker.child")
CARRIER_COMMAND = (sys.executable, "-m", "image_worker.carrier")
START_WITHIN = timedelta(seconds=30)
"""A child that is not ready by then is killed and started again."""
DEATH_SECONDS = 5.0
"""How long the kernel may take to show that a killed child is dead."""
PROMPT_RESTARTS = 3
"""Deaths without a finished job between them that are still answered at once."""


@dataclass(frozen=True, slots=True)
class Died:
    """The child ended while it had the job; whether it did it is unknown."""

    how: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The child was killed because the job took too long."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The child was gone before it could have read the job."""


Result = wire.Outcome | Died | TimedOut | NotStarted


class _Child:
    """One process, from its start to its death."""

    def __init__(self, pid: int, stream: socket.socket) -> None:
        self.pid = pid
        self.stream = stream
        self.frames = wire.Frames(stream)
        self.ready: wire.Ready | None = None
        self.jobs = 0
        self.worn = False
        self.how_it_died: str | None = None
        self.why_it_was_killed: str | None = None
        """Before it was ready; later it is known from the job."""
        self.dead = threading.Event()
        self.in_use = threading.Lock()  # nobody closes the stream under a reader's hands
        self._lock = threading.Lock()
        self._reaped = False
        self._allowed = timedelta()

    def allow(self, longest: timedelta) -> None:
        """Wait so long for each read and write, at most."""
        if longest != self._allowed:  # it is the same for every job, and costs a system call
            patience.allow(self.stream, longest.total_seconds())
            self._allowed = longest

    def kill(self) -> None:
        """Send SIGKILL, never to a process that merely inherited the number."""
        with self._lock:
            if not self._reaped:
                os.kill(self.pid, signal.SIGKILL)

    def lay(self, cpus: frozenset[int]) -> bool:
        """Bind it to these CPUs; returns whether it ran elsewhere until now."""
        with self._lock:
            if self._reaped or cores.affinity(self.pid) == cpus:
                return False
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                cores.pin(cpus, int(task.name))
            return True

    def bury(self) -> None:
        """Wait for the death, then free the number."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _, status = os.waitpid(self.pid, 0)
            self._reaped = True
        self.how_it_died = describe(os.waitstatus_to_exitcode(status))
        self.dead.set()


class Keeper:
    """Owns the succession of children on one core (or, with no core, on any)."""

    def __init__(  # noqa: PLR0913 (the supervisor wires it, once for each core)
        self,
        cpu: int | None,
        *,
        environ: Mapping[str, str],
        chance: Random,
        on_start: Callable[[wire.Ready], None],
        on_death: Callable[[str], None],
        on_recycle: Callable[[int, Reason], None] = lambda _pid, _reason: None,
        wear: Wear = NEVER,
        command: tuple[str, ...] = CHILD_COMMAND,
    ) -> None:
        self.cpu = cpu
        """The core of the next child; the present one's, too, once it is laid there."""
        self._command = command
        self._environ = dict(environ)
        self._on_start = on_start
        self._on_death = on_death
        self._on_recycle = on_recycle
        self._wear = wear
        self._backoff = Backoff(base_seconds=0.1, cap_seconds=10, chance=chance)
        self._deaths_in_a_row = 0
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._child: _Child | None = None
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The present child's process id."""
        child = self._child
        return child.pid if child else None

    @property
    def seated(self) -> int | None:
        """The present child's process id, once it has pinned itself and is ready for a job."""
        child = self._child
        return child.pid if child and child.ready else None

    @property
    def ready(self) -> bool:
        """Whether a child is ready for a job."""
        child = self._child
        return child is not None and child.ready is not None

    def keeps(self, pid: int) -> bool:
        """Say whether this is the present child, whose death is ours to see."""
        with self._changed:
            return self.pid == pid

    def lay(self, cpus: frozenset[int]) -> bool:
        """Bind the present child to these CPUs; returns whether it had to be moved."""
        child = self._child
        try:
            # A child that is not ready yet pins itself.
            return child is not None and child.ready is not None and child.lay(cpus)
        except OSError:
            return False  # it is just ending, or the cores are just being taken away

    def start(self) -> None:
        """Start the first child."""
        self._thread.start()

    def wait_ready(self, seconds: float) -> bool:
        """Wait until a child is ready for a job."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ready, seconds)

    def run(self, raw: bytes, timeout: timedelta) -> Result | wire.Asks:
        """Have the child do one job; returns within the timeout, or a little later.

        What the job asks first comes back instead; `go_on` when it is granted.
        """
        return self._run(wire.LOOK + raw, timeout)

    def go_on(self, raw: bytes, timeout: timedelta) -> Result:
        """Have the child do a job that was granted what it asked for."""
        result = self._run(wire.GO + raw, timeout)
        if isinstance(result, wire.Asks):
            raise TypeError("a child asked for what was granted")
        return result

    def _run(self, body: bytes, timeout: timedelta) -> Result | wire.Asks:
        child = self._child
        if child is None or child.ready is None:
            return NotStarted()
        with child.in_use:
            return self._exchange(child, body, timeout)

    def kill(self) -> None:
        """End the present child now; unless stopping, the next one starts at once."""
        child = self._child
        if child is not None:
            child.kill()

    def stop(self, seconds: float = DEATH_SECONDS) -> None:
        """Hang up, wait for the child to end, kill it if it does not."""
        self._stopping.set()
        child = self._child
        if child is not None:
            _hang_up(child.stream)
            if not child.dead.wait(seconds):
                child.kill()
        self._thread.join(DEATH_SECONDS)

    def _exchange(self, child: _Child, body: bytes, timeout: timedelta) -> Result | wire.Asks:
        try:
            child.allow(timeout)
            child.frames.send(body)
        except BlockingIOError:  # the time is up
            return self._killed(child)
        except OSError:
            self._await_death(child)
            return NotStarted()
        try:
            # One read answers almost always, so the timeout of each is that of the whole.
            outcome = wire.decode_answer(child.frames.receive())
        except BlockingIOError:  # the time is up
            return self._killed(child)
        except (EOFError, OSError):
            return Died(self._await_death(child))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            child.kill()
            self._await_death(child)
            return Died(f"answered with nonsense: {error}")
        self._deaths_in_a_row = 0
        if not isinstance(outcome, wire.Asks):
            self._wear_out(child)
        return outcome

    def _wear_out(self, child: _Child) -> None:
        """Count a job, and have a child that has served its time replaced before the next one."""
        child.jobs += 1
        reason = self._wear.reason(child.pid, child.jobs)
        if reason is None:
            return
        child.worn = True
        child.ready = None  # from here on nobody gives it a job
        self._on_recycle(child.pid, reason)
        child.kill()  # it has answered, and so has nothing to lose

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._changed:  # so that `keeps` knows every child from its first moment
                    child = self._child = self._spawn()
            except OSError as error:  # no memory, or no process number, is to be had
                self._lost(f"could not be started: {error}")
                continue
            # `stop` may have come between its look at the child and this one's birth.
            if self._stopping.is_set():
                _hang_up(child.stream)
            self._await_ready(child)
            child.bury()
            with child.in_use:
                child.stream.close()
            with self._changed:
                self._child = None
            if self._stopping.is_set():
                return
            if not child.worn:
                self._lost(child.why_it_was_killed or child.how_it_died or "")

    def _lost(self, how: str) -> None:
        """Tell of a child that is no more, and wait before the next one if that goes on."""
        self._on_death(how)
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row <= PROMPT_RESTARTS:
            self._backoff.reset()
        else:
            self._stopping.wait(self._backoff.next_seconds())

    def _spawn(self) -> _Child:
        cpu = self.cpu
        command = self._command if cpu is None else (*self._command, "--cpu", str(cpu))
        ours, theirs = socket.socketpair()
        with theirs:
            # The signal mask is inherited on purpose: what ends the supervisor (SIGTERM, or
            # Ctrl-C for the whole terminal) must not end the child in the middle of a job.
            try:
                pid = os.posix_spawn(
                    command[0],
                    command,
                    self._environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                )
            except OSError:
                ours.close()
                raise
        return _Child(pid, ours)

    def _await_ready(self, child: _Child) -> None:
        child.allow(START_WITHIN)
        try:
            ready = wire.decode_ready(child.frames.receive())
        except BlockingIOError:  # the time is up
            limit = START_WITHIN.total_seconds()
            child.why_it_was_killed = f"was not ready within {limit:g} s, and was killed"
            child.kill()
            return
        except (EOFError, OSError, ValueError, TypeError, RecursionError):
            child.kill()
            return
        self._on_start(ready)
        with self._changed:
            child.ready = ready
            self._changed.notify_all()

    def _killed(self, child: _Child) -> TimedOut:
        child.kill()
        self._await_death(child)
        return TimedOut()

    def _await_death(self, child: _Child) -> str:
        """A closed socket means that the child is dead, dying, or beyond use."""
        if not child.dead.wait(DEATH_SECONDS):
            child.kill()
            child.dead.wait(DEATH_SECONDS)
        return child.how_it_died or "hung up without ending"


def describe(exit_code: int) -> str:
    """Say how a process ended, as what follows "its child"."""
    if exit_code >= 0:
        return f"exited with {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


def _hang_up(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have hung up first
        stream.shutdown(socket.SHUT_RDWR)
