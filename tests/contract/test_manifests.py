"""The plain manifests: rendered from the chart, complete, and usable without helm."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.api_server import ROOT, ApiServer
from support.discovery import await_pools
from support.helm import CHART, only, pod_templates

MANIFESTS = ROOT / "manifests"
INSTALL = MANIFESTS / "install.yaml"
SAMPLE = MANIFESTS / "workerpool.yaml"


@pytest.fixture(scope="module")
def bare() -> Iterator[ApiServer]:
    """An API server that has never heard of WorkerPool."""
    with ApiServer() as server:
        yield server


def render(*words: str, folder: Path = MANIFESTS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "render.py", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_rendered_files_are_what_the_chart_makes_now() -> None:
    done = render("--check")

    assert done.returncode == 0, done.stderr


def test_a_difference_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    for name in ("manifests", "charts", "simulator", ".build"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "manifests").unlink()
    (tmp_path / "manifests").mkdir()
    for file in MANIFESTS.iterdir():
        if file.is_file():
            (tmp_path / "manifests" / file.name).write_text(file.read_text())
    changed = tmp_path / "manifests" / "install.yaml"
    changed.write_text(changed.read_text().replace("replicas: 1\n", "replicas: 2\n"))
    before = changed.read_text()

    done = render("--check", folder=tmp_path / "manifests")

    assert done.returncode == 1
    assert "-  replicas: 2\n+  replicas: 1\n" in done.stderr
    assert "run `python manifests/render.py`" in done.stderr
    assert changed.read_text() == before


def test_one_version_is_written_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_both_files_applied_one_after_the_other_are_complete(bare: ApiServer) -> None:
    bare.kubectl("apply", "--validate=strict", "-f", INSTALL)
    await_pools(bare)
    sample = bare.kubectl("apply", "--validate=strict", "-f", SAMPLE)

    operator = bare.kubectl("get", "deploy,sa,svc", "-n", "workerpool-system", "-o", "name")

    assert "workerpool.workerpool.dev/images created" in sample.stdout
    assert operator.stdout.split() == [
        "deployment.apps/workerpool-operator",
        "serviceaccount/workerpool-operator",
        "service/workerpool-operator",
    ]


def test_applying_them_again_restarts_nothing(bare: ApiServer) -> None:
    for _ in range(2):
        bare.kubectl("apply", "-f", INSTALL)
        await_pools(bare)
        bare.kubectl("apply", "-f", SAMPLE)

    generations = bare.kubectl(
        *("get", "deployments,statefulsets,workerpools", "--all-namespaces"),
        *("-o", "jsonpath={.items[*].metadata.generation}"),
    )

    assert generations.stdout.split() == ["1", "1", "1"]


def test_the_installed_namespace_admits_restricted_pods_only() -> None:
    namespace = only(list(yaml.safe_load_all(INSTALL.read_text())), "Namespace")

    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_sample_goes_to_the_namespace_kubectl_points_to() -> None:
    documents = list(yaml.safe_load_all(SAMPLE.read_text()))

    assert documents[0]["kind"] == "WorkerPool"
    assert [d for d in documents if "namespace" in d["metadata"]] == []
    # A host without a dot is looked for in the pool's namespace.
    assert documents[0]["spec"]["queue"]["redis"]["url"] == "redis://images-redis:6379/0"


def test_the_samples_password_is_told_to_be_a_placeholder() -> None:
    text = SAMPLE.read_text()
    secret = only(list(yaml.safe_load_all(text)), "Secret")["stringData"]

    assert secret["password"].startswith("change-")
    assert "Change it in both places" in text[: text.index("apiVersion")]


def test_the_command_in_its_header_names_a_registry_for_both_images() -> None:
    header = INSTALL.read_text().partition("apiVersion")[0].replace("#   ", "").replace("# ", "")
    [command] = re.findall(r"(sed .*) \|", header.replace("\\\n", ""))

    text = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout

    before, after = INSTALL.read_text().splitlines(), text.splitlines()
    changed = [line.split(": ")[1] for old, line in zip(before, after, strict=True) if old != line]
    registry = "registry.example.org/team"
    assert changed == [f"{registry}/workerpool-operator:0.1.0", f"{registry}/image-worker:0.1.0"]
    template = pod_templates(list(yaml.safe_load_all(text)))["workerpool-operator"]
    assert template["spec"]["containers"][0]["image"] == changed[0]
