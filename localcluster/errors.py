"""What can go wrong, as one tree.

::

    LocalClusterError
    ├── Unsupported      this machine cannot do it: says what is missing and what to do instead
    ├── OwnedElsewhere   the cluster that runs belongs to another checkout
    ├── CommandFailed    a program ended with an error, or did not end in time
    └── TimedOut         a condition did not come true: says which log to read
"""


class LocalClusterError(Exception):
    """Anything that `python -m localcluster` reports in one message instead of a traceback."""


class Unsupported(LocalClusterError):
    """This machine lacks something that cannot be installed from here."""


class OwnedElsewhere(LocalClusterError):
    """Another checkout's cluster is in the way."""


class CommandFailed(LocalClusterError):
    """A program that was run to its end did not succeed."""


class TimedOut(LocalClusterError):
    """A condition that was waited for did not come true."""
