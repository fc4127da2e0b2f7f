"""Full jitter: wait a random time below a ceiling that doubles.

Pure, given its source of chance.  Spreading over the whole interval, not around its end,
is what keeps a crowd from returning together (M. Brooker, "Exponential Backoff and Jitter").
"""

from random import Random

MAX_DOUBLINGS = 32  # beyond this any ceiling is reached, and 2 ** n only grows


def full_jitter(
    failures: int, *, base_seconds: float, cap_seconds: float, chance: Random
) -> float:
    """Return the wait after that many failures in a row, in seconds."""
    ceiling = min(cap_seconds, base_seconds * 2 ** min(max(failures - 1, 0), MAX_DOUBLINGS))
    return chance.uniform(0, ceiling)


class Backoff:
    """Counts failures in a row and says how long to wait after each."""

    def __init__(self, *, base_seconds: float, cap_seconds: float, chance: Random) -> None:
        self._base_seconds = base_seconds
        self._cap_seconds = cap_seconds
        self._chance = chance
        self.failures = 0

    def next_seconds(self) -> float:
        """Count one more failure; at least half the base, so that a loop never spins."""
        self.failures += 1
        wait = full_jitter(
            self.failures,
            base_seconds=self._base_seconds,
            cap_seconds=self._cap_seconds,
            chance=self._chance,
        )
        return max(wait, self._base_seconds / 2)

    def reset(self) -> None:
        """Forget the failures: something worked."""
        self.failures = 0
