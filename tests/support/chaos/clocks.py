"""The wrong clock that a place's processes believe, and the right one, which is Redis's, too."""

import time
from collections.abc import Callable


def skew_wall_clock(seconds: float) -> None:
    """Have every reading of the wall's clock be off; the monotonic clock has no wrong value."""
    right: Callable[[], float] = time.time
    time.time = lambda: right() + seconds


def now_ms() -> int:
    """Return the right time, also where the wall's clock is off."""
    return time.time_ns() // 1_000_000
