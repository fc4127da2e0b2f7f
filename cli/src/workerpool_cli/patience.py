"""Asking on while Redis is away for a moment: a long wait must survive a restart."""

from collections.abc import Callable
from typing import TypeVar

from workerpool_cli.console import Console
from workerpool_cli.errors import RedisTrouble, TimeIsUp

T = TypeVar("T")
LONGEST_SECONDS = 60.0
PAUSE_SECONDS = 1.0


def patiently(
    ask: Callable[[], T],
    console: Console,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> T:
    """Return the answer to something harmless to ask again; a lasting trouble is raised."""
    first: float | None = None
    last = ""
    try:
        while True:
            try:
                return ask()
            except RedisTrouble as trouble:
                now = clock()
                first = now if first is None else first
                if not trouble.passing or now - first > LONGEST_SECONDS:
                    raise
                last = str(trouble)
                console.progress(f"{last} (trying again)")
                pause(PAUSE_SECONDS)
    except TimeIsUp as up:
        raise up.telling(last) from up
