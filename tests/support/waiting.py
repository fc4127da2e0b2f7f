"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.01


def eventually(
    look: Callable[[], T | None],
    what: str | Callable[[], object],
    *,
    seconds: float = 60.0,
    every: float = POLL_SECONDS,
) -> T:
    """Look until something true is seen and return it; else fail with what was awaited.

    The last thing that was seen is part of the failure. A `what` that must be looked up itself
    (logs, listings) is only called then. `every` is larger where looking is dear.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            words = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {words}; last seen: {seen!r}")
        time.sleep(every)
