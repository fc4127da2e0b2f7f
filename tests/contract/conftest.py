"""One real API server for all contract tests; who writes takes a namespace of his own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api_server import ApiServer
from support.discovery import await_pools

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    """The API server, knowing WorkerPool."""
    with ApiServer() as server:
        server.kubectl("apply", "-f", ROOT / "manifests" / "crd.yaml")
        server.kubectl("wait", "--for=condition=Established", "crd/workerpools.workerpool.dev")
        await_pools(server)
        server.kubectl("api-resources")  # asks anew, and replaces what kubectl keeps
        yield server


@pytest.fixture
def namespace(api: ApiServer) -> str:
    """A namespace that nothing else uses and that admits only restricted pods."""
    name = f"test-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    answer = api.request(
        "POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}}
    )
    assert answer.code == 201, answer.message
    return name
