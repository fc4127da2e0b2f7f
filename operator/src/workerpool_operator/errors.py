"""Everything this package raises on purpose.

    AutoscalerError
    ├── ConfigError        a variable of the process is missing or wrong: exit 2 at start
    ├── InvalidResource    a WorkerPool that cannot be understood: condition, wait for an edit
    ├── Unreadable         a queue's length is unknown: hold the replicas, say so, try again
    │   └── Moved          another node of the Cluster has it: ask that one
    └── ApplyFailed        the API server did not take a write: try again with backoff
        ├── Conflict       somebody else wrote first, or owns the object: observe again
        │   └── TargetConflict   the Deployment of spec.targetRef has a master already
        ├── TargetMissing  the Deployment of spec.targetRef does not exist
        ├── Forbidden      the operator lacks a right: condition and event, try again slowly
        ├── NotFound       the object is gone: treat it as deleted
        └── Throttled      the server asks for patience
            └── NotLeading another operator may hold the lease: nothing was sent

Adapters translate what their library raises into this tree with ``raise … from``.
"""

from typing import ClassVar


class AutoscalerError(Exception):
    """Any failure this package knows by name."""


class ConfigError(AutoscalerError):
    """The process's environment is wrong; the text lists every bad variable."""


class InvalidResource(AutoscalerError):
    """A WorkerPool's spec cannot be understood; the text names the field and the remedy."""


class Unreadable(AutoscalerError):
    """A queue could not be read, so its length is unknown (which is never zero).

    ``reason`` is the CamelCase word shown in the condition.
    """

    def __init__(self, message: str, *, reason: str = "Unreachable") -> None:
        super().__init__(message)
        self.reason = reason


class Moved(Unreadable):
    """A queue belongs to another node of a Cluster; ``host`` is empty if that has no name."""

    def __init__(self, message: str, *, host: str, port: int) -> None:
        super().__init__(message, reason="Moved")
        self.host = host
        self.port = port


class ApplyFailed(AutoscalerError):
    """The API server refused a request or could not be reached."""

    reason: ClassVar[str] = "ApplyFailed"
    """The CamelCase word shown in the condition and the Event."""


class Conflict(ApplyFailed):
    """The object changed meanwhile, or belongs to somebody else."""

    reason = "DeploymentConflict"


class TargetConflict(Conflict):
    """Somebody else decides about the size of the Deployment that a pool is to scale."""

    reason = "TargetConflict"


class TargetMissing(ApplyFailed):
    """The Deployment that a pool is to scale does not exist."""

    reason = "TargetMissing"


class Forbidden(ApplyFailed):
    """The operator's service account lacks a right."""

    reason = "Forbidden"


class NotFound(ApplyFailed):
    """The object does not exist (any more)."""


class Throttled(ApplyFailed):
    """The server is overloaded; come back after ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotLeading(Throttled):
    """This operator does not hold the lease (any more), so nothing was sent."""

    def __init__(self) -> None:
        super().__init__("this operator does not hold the lease now", retry_after=1.0)
