"""Each example pool, and the Deployment that follows from it, is taken by a real API server."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api_server import ROOT, ApiServer
from workerpool_operator.resource import parse
from workerpool_operator.workload import deployment

EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_accepted_and_so_is_what_is_made_of_it(
    api: ApiServer, namespace: str, file: Path
) -> None:
    api.kubectl("apply", "--validate=strict", "-n", namespace, "-f", file)
    name = yaml.safe_load(file.read_text())["metadata"]["name"]
    found = api.kubectl("get", "workerpool", name, "-n", namespace, "-o", "json").stdout
    pool: dict[str, Any] = json.loads(found)

    made = deployment(parse(pool), image="image-worker:1", pull_policy="IfNotPresent")
    done = api.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=json.dumps(made),
    )

    assert done.stderr == ""
    assert f"deployment.apps/{name}-worker" in done.stdout


def test_every_example_is_named_in_the_docs() -> None:
    text = (ROOT / "docs" / "placement.md").read_text()
    assert EXAMPLES
    assert [file.name for file in EXAMPLES if file.name not in text] == []
