"""One at a time: a lock on a folder, which the kernel releases however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.commands import wait_until


@contextmanager
def held(folder: Path, *, timeout_seconds: float, otherwise: str) -> Iterator[None]:
    """Hold the lock of a folder inside the block; raise TimedOut if somebody else keeps it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        wait_until(
            lambda: _is_taken(handle),
            timeout_seconds=timeout_seconds,
            otherwise=lambda: otherwise,
        )
        yield
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
