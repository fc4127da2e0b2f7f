"""The tool's error tree, and the exit codes that scripts may rely on.

    CliError             it did not work                                     exit 1
    ├── UsageError       the command line is wrong: nothing was touched      exit 2
    ├── RedisTrouble     Redis is away, refuses us, or holds something else
    └── ClusterTrouble   kubectl is missing, or did not do what was asked

Every message says what was wrong and what to do, and none holds a secret.
"""

from enum import IntEnum


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
