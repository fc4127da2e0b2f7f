"""One real API server for all contract tests; who writes takes a namespace of his own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api_server import ApiServer
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    """The API server, knowing WorkerPool."""
    with ApiServer() as server:
        server.kubectl("apply", "-f", ROOT / "manifests" / "crd.yaml")
        server.kubectl("wait", "--for=condition=Established", "crd/workerpools.workerpool.dev")
        eventually(lambda: _described(server), "the resource's description")
        yield server


def _described(server: ApiServer) -> bool:
    """Return whether kubectl, which keeps what it was told, knows the resource and its fields."""
    schema = server.request("GET", "/openapi/v3/apis/workerpool.dev/v1alpha1")
    # Asks anew, and replaces what is kept.
    known = server.kubectl("api-resources", "--api-group=workerpool.dev", "--output=name")
    return schema.code == 200 and "workerpools" in known.stdout


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
