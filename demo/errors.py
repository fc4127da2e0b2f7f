"""What can go wrong, as one tree.

::

    DemoError
    ├── Unsupported     this machine or cluster cannot do it; nothing was changed
    ├── CommandFailed   a program ended badly or did not end in time: says which log to read
    └── TimedOut        a condition did not come true: says what to look at
"""


class DemoError(Exception):
    """Anything that `make up` and `make down` report in a few lines instead of a traceback."""


class Unsupported(DemoError):
    """Something is missing that the demo cannot bring along."""


class CommandFailed(DemoError):
    """A program that was run to its end did not succeed."""


class TimedOut(DemoError):
    """A condition that was waited for did not come true."""
