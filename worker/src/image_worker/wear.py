"""When a decoding child has served its time: after so many jobs, or grown too large.

Decoders are C, and what they leak is theirs until their process ends.  It knows how much memory a
process has; it must not know how a child is replaced.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

LOOK_EVERY_JOBS = 16
"""To look takes some 30 µs, which jobs that do little would feel."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Reason(StrEnum):
    """Why a child is replaced."""

    JOBS = "jobs"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Wear:
    """How much a child may do, and how large it may be between two jobs; 0 is no limit."""

    jobs: int = 0
    resident_bytes: int = 0

    def reason(self, pid: int, jobs: int) -> Reason | None:
        """Say why this child, which has done so many jobs, is to be replaced; None: it is not."""
        if jobs == self.jobs:
            return Reason.JOBS
        if (
            self.resident_bytes
            and jobs % LOOK_EVERY_JOBS == 0
            and resident(pid) > self.resident_bytes
        ):
            return Reason.MEMORY
        return None


NEVER = Wear()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has, with what it has started; 0: it is gone."""
    total, family = 0, [pid]
    while family:
        process = f"/proc/{family.pop()}"
        with suppress(OSError, ValueError, IndexError):
            total += int(_read(f"{process}/statm").split()[1]) * PAGE_BYTES
            for task in os.listdir(f"{process}/task"):  # noqa: PTH208 (see _read)
                family += map(int, _read(f"{process}/task/{task}/children").split())
    return total


def _read(path: str) -> bytes:
    # A sixth of the time of `Path.read_text`, and jobs wait for it.
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)
