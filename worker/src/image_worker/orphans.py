"""What process 1 of a container owes the processes that nobody else waits for."""

import os
from collections.abc import Callable


def bury(is_kept: Callable[[int], bool]) -> None:
    """Free the numbers of dead children, but of those that have a keeper, who does it himself."""
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if dead is None or is_kept(dead.si_pid):
                return
            # Its keeper may have buried it since we saw it; then nothing is left to wait for.
            os.waitpid(dead.si_pid, os.WNOHANG)
        except ChildProcessError:
            return
