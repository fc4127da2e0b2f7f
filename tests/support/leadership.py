"""Two operators over one Lease, told apart by their names."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from support.api_server import ApiServer
from support.operator_process import LEASE, NAMESPACE, OperatorProcess
from support.waiting import eventually

_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}"


def replica(
    api: ApiServer,
    name: str,
    *,
    lease_seconds: int,
    server: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> OperatorProcess:
    """Return an operator of that name, not yet started."""
    settings = {
        **(settings or {}),
        "POD_NAME": name,
        "WORKERPOOL_LEADER_LEASE_SECONDS": str(lease_seconds),
    }
    return OperatorProcess(api, settings, server=server)


@contextmanager
def pair(
    api: ApiServer, *, lease_seconds: int
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Run two operators, "a" and "b"; the first leads."""
    with replica(api, "a", lease_seconds=lease_seconds) as first:
        eventually(lambda: leads(first), "a leader")
        with replica(api, "b", lease_seconds=lease_seconds) as second:
            yield first, second


def holder(api: ApiServer) -> str:
    """Return whom the Lease names."""
    answer = api.request("GET", _LEASE)
    return str(answer.body["spec"].get("holderIdentity") or "") if answer.code == 200 else ""


def forget_the_lease(api: ApiServer) -> None:
    """Take the Lease away, so that nobody's time has to be waited for."""
    api.request("DELETE", _LEASE)


def leads(operator: OperatorProcess) -> bool:
    """Return what it says of itself; one that is on its way out says nothing any more."""
    try:
        return operator.metrics()["workerpool_leader"] == 1
    except OSError:
        return False


def hold_still(operator: OperatorProcess) -> None:
    """Stop it as a debugger, a swapping machine or a paused VM would."""
    os.kill(operator.pid, signal.SIGSTOP)


def let_go(operator: OperatorProcess) -> None:
    """Let it go on where it was."""
    os.kill(operator.pid, signal.SIGCONT)
