"""Where the jobs that we pushed are now.

A plain list gives a job no name when it is pushed, so jobs are recognised by their bytes: one
that somebody else pushed with the very same bytes counts as ours while it is unfinished.

A look reads the list, then the landing, then the claimed and retrying jobs: the way a job goes.
What moves on is met again further down.  Only a job that was claimed, and handed back to the
head of the list by a worker that was told to stop, can slip past one look; so the end is believed
when two looks in a row find nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from workerpool_cli.queues import Queue

LOOKS_TO_BELIEVE = 2


@dataclass(frozen=True, slots=True)
class Sighting:
    """Our jobs by where they were seen."""

    waiting: int
    in_flight: int
    retrying: int
    dead: int
    done: int
    """Seen nowhere: done, or dropped from the dead letters by somebody."""
    left: Counter[bytes]
    """Those that somebody will still work on."""
    is_over: bool

    @property
    def ended(self) -> int:
        """Jobs that nobody will work on any more."""
        return self.done + self.dead


class Lookout:
    """Looks for the jobs of one push."""

    def __init__(self, queue: Queue, pushed: Counter[bytes], since_ms: int) -> None:
        self._queue = queue
        self._pushed = pushed
        self._total = pushed.total()
        self._since_ms = since_ms
        self._empty_looks = 0
        self.last = Sighting(self._total, 0, 0, 0, 0, left=pushed, is_over=False)
        """What is known."""

    def look(self) -> Sighting:
        """Look once; costs one reading of the list."""
        queue = self._queue
        waiting = self._ours(queue.waiting()) + self._ours(queue.landed())
        in_flight = self._ours(e.raw for e in queue.envelopes(queue.in_flight()).values())
        retrying = self._ours(e.raw for e in queue.envelopes(queue.retrying()).values())
        # Seen twice, or pushed by others too: no more than there are.
        found = (waiting + in_flight + retrying) & self._pushed
        dead = self._buried() & self._pushed
        unfinished = found.total()
        self._empty_looks = 0 if unfinished else self._empty_looks + 1
        in_flight_count = min(in_flight.total(), unfinished)
        retrying_count = min(retrying.total(), unfinished - in_flight_count)
        dead_count = min(dead.total(), self._total - unfinished)
        self.last = Sighting(
            waiting=unfinished - in_flight_count - retrying_count,
            in_flight=in_flight_count,
            retrying=retrying_count,
            dead=dead_count,
            done=self._total - unfinished - dead_count,
            left=found,
            is_over=self._empty_looks >= LOOKS_TO_BELIEVE,
        )
        return self.last

    def _ours(self, jobs: Iterable[bytes]) -> Counter[bytes]:
        return Counter(job for job in jobs if job in self._pushed)

    def _buried(self) -> Counter[bytes]:
        """Find ours among those that were buried since the push; letters come newest first."""
        letters = takewhile(lambda letter: letter.died_ms >= self._since_ms, self._queue.letters())
        return self._ours(letter.raw for letter in letters)
