"""The tool's error tree, and the exit codes that scripts may rely on.

    CliError             it did not work                                     exit 1
    ├── UsageError       the command line is wrong: nothing was touched      exit 2
    ├── RedisTrouble     Redis is away, refuses us, or holds something else
    └── ClusterTrouble   kubectl is missing, or did not do what was asked
    TimeIsUp             --timeout passed; of no tree, as nothing may take it for a trouble

Every message says what was wrong and what to do, and none holds a secret.
"""

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """What a command comes to."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEAD = 3
    """`push --wait`: everything ended, and some of the jobs are dead letters."""
    TIME_UP = 4
    """`--timeout` passed before what was awaited."""
    INTERRUPTED = 130
    TERMINATED = 143


class CliError(Exception):
    """Everything this package raises on purpose."""

    exit = Exit.FAILED


class UsageError(CliError):
    """The command line does not say what to do."""

    exit = Exit.USAGE


class RedisTrouble(CliError):
    """Redis did not answer as needed."""

    def __init__(self, message: str, *, answered: bool = True, passing: bool = False) -> None:
        super().__init__(message)
        self.answered = answered
        """False: nobody knows whether the command was carried out."""
        self.passing = passing
        """It may be over in a moment, with nobody doing anything."""


class ClusterTrouble(CliError):
    """The cluster did not answer as needed."""


class TimeIsUp(BaseException):
    """The seconds that a command was given are over, whatever it was in the middle of."""

    exit = Exit.TIME_UP

    def __init__(self, seconds: float, *words: str) -> None:
        self.seconds = seconds
        self.words = tuple(filter(None, words))
        """What is left, and what was in the way: who knows more puts it in front."""
        told = "; ".join(self.words)
        super().__init__(f"not done within {seconds:g} s{told and f': {told}'}")

    def telling(self, words: str) -> Self:
        """Return it with more to say."""
        return type(self)(self.seconds, words, *self.words)
