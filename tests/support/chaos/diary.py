"""What supervisors and children did, in their own words, and when by Redis's clock.

All append to one file; an entry is one short write, so none is cut by another.
"""

import json
import os
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path

from support.chaos.clocks import now_ms


class What(StrEnum):
    """A claim that was granted a job, from its call to its answer; the ends of a run."""

    CLAIMED = "="
    BEGUN = "+"
    ENDED = "-"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    what: What
    pod: str
    since_ms: int
    at_ms: int
    name: str = ""
    queue: str = ""
    due_ms: int = 0
    """The time that the job asked for, if any."""


class Diary:
    """One process' hand in it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._pod = os.environ["WORKERPOOL_POD"]

    def claimed(self, since_ms: int) -> None:
        self._write(Entry(What.CLAIMED, self._pod, since_ms, now_ms()))

    def begun(self, name: str, queue: str, due_ms: int) -> None:
        now = now_ms()
        self._write(Entry(What.BEGUN, self._pod, now, now, name, queue, due_ms))

    def ended(self, name: str, queue: str) -> None:
        now = now_ms()
        self._write(Entry(What.ENDED, self._pod, now, now, name, queue))

    def _write(self, entry: Entry) -> None:
        os.write(self._file, f"{json.dumps(astuple(entry))}\n".encode())


def read(path: Path) -> list[Entry]:
    """Return all of it."""
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [Entry(What(what), *rest) for what, *rest in lines]
