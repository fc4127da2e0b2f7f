"""Redis' errors in a person's words: what the trouble is, and what to do about it.

Knows the client library's exceptions; neither connections nor what was asked.
"""

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ResponseError,
    TryAgainError,
)

from workerpool_operator.errors import Moved, Unreadable


def describe(error: BaseException, address: str) -> Unreadable:
    """Say in a person's words what Redis' trouble is and what to do about it."""
    words = str(error)
    reason, remedy = "Unreachable", f"cannot be read: {words or type(error).__name__}"
    match error:
        case AuthenticationError():
            reason = "AuthenticationFailed"
            remedy = (
                "refuses the credentials: put username and password as it knows them into a "
                f"Secret and name that in spec.queue.redis.secretRef.name ({words})"
            )
        case NoPermissionError():
            reason = "PermissionDenied"
            remedy = (
                "forbids the operator's user a command: grant what docs/protocol.md lists "
                f"({words})"
            )
        case MovedError():
            remedy = "says that another node of the Cluster has the queue"
            return Moved(f"Redis at {address} {remedy}", host=error.host, port=error.port)
        case AskError() | TryAgainError():
            reason = "SlotMoving"
            remedy = "is moving the queue's slot to another node: it is read again in a moment"
        case ClusterDownError():
            reason = "ClusterDown"
            remedy = f"belongs to a Cluster some of whose slots nobody serves ({words})"
        case BusyLoadingError():
            reason, remedy = "Loading", "is still loading its data"
        case ResponseError() if words.startswith("WRONGTYPE"):
            reason = "NotAList"
            remedy = "holds something else than a list under that name: correct spec.queue.list"
        case TimeoutError():
            remedy = "does not answer in time"
        case _:
            pass
    return Unreadable(f"Redis at {address} {remedy}", reason=reason)
