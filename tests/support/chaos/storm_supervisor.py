"""`storm_supervisor.py <seconds its clock is off> <diary>`: the real one, on a node in a storm.

Its children are those of `storm_child.py`, with the same wrong clock.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from image_worker import leases
from image_worker.__main__ import main

CHILD = Path(__file__).with_name("storm_child.py")
MAX_CRASHES = 6
"""More than the product's 3: a storm may well hit an innocent job three times by chance, and it
would rightly be buried.  What is planned to die does so six times."""


def skew_wall_clock(seconds: float) -> None:
    """Have every reading of the wall's clock be off; the monotonic clock has no wrong value."""
    right: Callable[[], float] = time.time
    time.time = lambda: right() + seconds


if __name__ == "__main__":
    skew_wall_clock(float(sys.argv[1]))
    leases.MAX_CRASHES = MAX_CRASHES
    sys.exit(main(child_command=(sys.executable, str(CHILD), *sys.argv[1:])))
