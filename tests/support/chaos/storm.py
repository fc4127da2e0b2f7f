"""The processes, and how each fault is done to them.

It knows signals and sockets; which fault comes when is the schedule's affair, and whether all
went well the audit's.
"""

import contextlib
import heapq
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Self

from support.chaos import storm_supervisor
from support.chaos.faults import Fault, Kind
from support.chaos.jobs import LONGEST_SIDE
from support.chaos.places import SITES, STARTING, Place
from support.chaos.proxy import Way
from support.chaos.retiring import Closer, Closure
from support.redis_server import RedisServer
from support.supervisor import Supervisor

LEASE_SECONDS = 2
MAX_ATTEMPTS = 2
END_SECONDS = 120.0
READY_SECONDS = 120.0
MARK_ENDS_SECONDS = 3600.0
"""Longer than a storm, not the operator's minute: who is never called back shall be seen."""
TRY_EVERY_SECONDS = 0.05
"""How soon to look again whether a pod is idle that is to be closed."""


class Storm:
    """Three places and a Redis that forgets nothing it confirmed."""

    def __init__(self, folder: Path, results_kept: int) -> None:
        self.folder = folder
        self.diary = folder / "diary"
        self.faults: Counter[str] = Counter()
        self.server = RedisServer({"appendonly": "yes", "appendfsync": "always"})
        self.places: list[Place] = []
        self.closures: list[Closure] = []
        self._over = False
        self._results_kept = results_kept
        self._stack = ExitStack()
        self._ending: list[Supervisor] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.diary.touch()
            self._stack = stack
            self._closer = Closer(self.server.client())
            self.closures = self._closer.closures
            for number, (skew, queues) in enumerate(SITES):
                way = stack.enter_context(Way(self.server.port))
                place = Place(number, way, skew, queues)
                self.places.append(place)
                place.move()
                self._start(place)
            for place in self.places:
                place.supervisor.await_line("a child is ready", seconds=READY_SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def befall(self, fault: Fault) -> None:
        """Let one fault happen, and what is due of earlier ones end; pause."""
        self.faults[fault.kind] += 1
        self._do(fault, self.places[fault.place])
        pause_ends = time.monotonic() + fault.pause
        while (now := time.monotonic()) < pause_ends:
            self._end_those_due(now)
            time.sleep(max(0.0, min(pause_ends, self._next_end()) - now))

    def calm(self) -> None:
        """End every fault that still lasts, and call back whoever is closed."""
        self._over = True
        self._end_those_due(float("inf"))

    def end(self) -> list[int]:
        """Ask all supervisors to end; returns the exit codes of all that were ever asked to.

        Leaves out those that had not begun: until it handles signals, SIGTERM just ends it.
        """
        for place in self.places:
            self._ask_to_end(place.supervisor)
        codes = [(one, one.process.wait(END_SECONDS)) for one in self._ending]
        return [code for one, code in codes if one.lines(STARTING)]

    def logged(self, place: Place, message: str) -> list[dict[str, object]]:
        """Return the lines with this message of all supervisors of a place."""
        return [line for one in place.supervisors for line in one.lines(message)]

    def story(self) -> dict[str, int]:
        """Return how often each message was logged, by anybody."""
        every = [one for place in self.places for one in place.supervisors]
        return dict(Counter(str(line["message"]) for one in every for line in list(one.log)))

    def _do(self, fault: Fault, place: Place) -> None:  # noqa: C901 (a table of all kinds)
        pid = place.supervisor.pid
        match fault.kind:
            case Kind.KILL_CHILD:
                self._signal(signal.SIGKILL, *place.supervisor.children())
            case Kind.STOP_CHILD:
                self._stop(fault.seconds, *place.supervisor.children())
            case Kind.STOP_SUPERVISOR:
                self._stop(fault.seconds, pid)
            case Kind.KILL_SUPERVISOR:
                place.supervisor.process.kill()
                place.supervisor.process.wait(END_SECONDS)
                self._start(place)
            case Kind.END_SUPERVISOR:
                self._replace(place)
            case Kind.KILL_REDIS:
                self.server.kill()
                time.sleep(fault.seconds)
                self.server.start()
            case Kind.STOP_REDIS:
                with self.server.frozen():
                    time.sleep(fault.seconds)
            case Kind.CUT_NETWORK:
                place.way.cut()
            case Kind.PART_NETWORK:
                place.way.part()
                self._after(fault.seconds, place.way.mend)
            case Kind.STALL_NETWORK:
                place.way.stall()
                self._after(fault.seconds, place.way.mend)
            case Kind.RETIRE | Kind.RETIRE_FOR_GOOD:
                self._retire(place, fault)
            case Kind.RETIRE_AND_VANISH:
                self._retire(place, fault, mark_ends=fault.seconds)

    def _retire(self, place: Place, fault: Fault, *, mark_ends: float = MARK_ENDS_SECONDS) -> None:
        """Close the pod as soon as it is idle; then its fate follows."""
        if self._over:
            return
        ends = timedelta(seconds=mark_ends)
        closure = self._closer.close(place.pod, tuple(place.queues), ends)
        if closure is None:
            self._after(TRY_EVERY_SECONDS, lambda: self._retire(place, fault, mark_ends=mark_ends))
        elif fault.kind is Kind.RETIRE:
            self._after(fault.seconds, lambda: self._closer.call_back(closure))
        elif fault.kind is Kind.RETIRE_FOR_GOOD:
            self._after(fault.seconds, lambda: self._let_go(place, closure))

    def _let_go(self, place: Place, closure: Closure) -> None:
        if place.pod == closure.pod:  # else it went before, by another fault
            self._replace(place)
        self._closer.let_go()

    def _start(self, place: Place) -> None:
        supervisor = Supervisor(
            place.way.url,
            self.folder,
            command=(sys.executable, storm_supervisor.__file__, str(place.skew), str(self.diary)),
            pod=place.pod,
            queues=",".join(f"{queue}={weight}" for queue, weight in place.queues.items()),
            lease_seconds=str(LEASE_SECONDS),
            job_max_attempts=str(MAX_ATTEMPTS),
            thumbnail_pixels=str(LONGEST_SIDE),
            results_kept=str(self._results_kept),
        )
        place.supervisors.append(self._stack.enter_context(supervisor))

    def _ask_to_end(self, supervisor: Supervisor) -> None:
        supervisor.process.send_signal(signal.SIGTERM)
        self._ending.append(supervisor)

    def _replace(self, place: Place) -> None:
        # It may be stopped, and hear of it later: nobody waits for it before the end.
        self._ask_to_end(place.supervisor)
        place.move()
        self._start(place)

    def _stop(self, seconds: float, *pids: int) -> None:
        self._signal(signal.SIGSTOP, *pids)
        self._after(seconds, lambda: self._signal(signal.SIGCONT, *pids))

    def _signal(self, number: signal.Signals, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), act))

    def _next_end(self) -> float:
        return self._later[0][0] if self._later else float("inf")

    def _end_those_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
