"""Each example pool, and the Deployment that follows from it, is taken by a real API server."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from image_worker import presets, settings
from support.api_server import ROOT, ApiServer
from support.helm import only
from workerpool_operator.resource import parse
from workerpool_operator.workload import deployment

EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
OF_IMAGES = ("buckets", "presets")
"""Those that set what only the image worker knows."""


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def made(api: ApiServer, namespace: str, file: Path) -> dict[str, Any]:
    """Return the Deployment of an example, as the operator makes it of what is stored."""
    api.kubectl("apply", "--validate=strict", "-n", namespace, "-f", file)
    name = only(documents(file), "WorkerPool")["metadata"]["name"]
    found = api.kubectl("get", "workerpool", name, "-n", namespace, "-o", "json").stdout
    return deployment(parse(json.loads(found)), image="image-worker:1", pull_policy="IfNotPresent")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_accepted_and_so_is_what_is_made_of_it(
    api: ApiServer, namespace: str, file: Path
) -> None:
    manifest = made(api, namespace, file)
    done = api.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=json.dumps(manifest),
    )

    assert done.stderr == ""
    assert f"deployment.apps/{manifest['metadata']['name']}" in done.stdout


@pytest.mark.parametrize("stem", OF_IMAGES)
def test_the_worker_understands_what_an_example_sets(
    api: ApiServer, namespace: str, stem: str
) -> None:
    file = ROOT / "manifests" / "examples" / f"{stem}.yaml"
    spec = made(api, namespace, file)["spec"]["template"]["spec"]
    [container] = spec["containers"]

    read = settings.read({v["name"]: v["value"] for v in container["env"] if "value" in v})

    if stem == "buckets":
        assert read.images.carried
        assert [str(place) for place in (read.images.source, read.images.sink)] == [
            "s3://photos/in",
            "s3://photos/out",
        ]
        assert read.images.hosts.allow("a.cdn.example.org", 443, "https")
        secret = only(documents(file), "Secret")
        assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
        assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    else:
        config = only(documents(file), "ConfigMap")
        # The file is where the worker looks for it, and says what can be made.
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        presets_file = read.images.presets_file
        assert presets_file is not None
        volume = next(v for v in spec["volumes"] if v["name"] == mounts[str(presets_file.parent)])
        assert volume["configMap"]["name"] == config["metadata"]["name"]
        found = presets.parse_toml(config["data"][presets_file.name])
        assert set(found.by_name) == {"large", "card"}


def test_every_example_is_named_in_the_docs() -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in ("placement.md", "images.md"))
    assert EXAMPLES
    assert [file.name for file in EXAMPLES if file.name not in text] == []
