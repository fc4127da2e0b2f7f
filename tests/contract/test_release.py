"""The life of a release on a real API server: install, upgrade, uninstall."""

import base64
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api_server import ApiServer
from support.discovery import await_no_pools, await_pools
from support.helm import CHART, Helm, HelmError
from support.pools import pool
from support.waiting import eventually

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workerpools.workerpool.dev"
SAMPLE = ("--reset-then-reuse-values", "--set=samplePool.enabled=true")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def bare() -> Iterator[ApiServer]:
    """An API server that has never heard of WorkerPool."""
    with ApiServer() as server:
        yield server


class Release:
    """A release in a namespace of its own."""

    def __init__(self, api: ApiServer, helm: Helm) -> None:
        self.api, self.helm = api, helm
        self.namespace = f"release-{next(_numbers)}"

    def run(self, verb: str, *words: str | Path) -> str:
        return self.helm.run(verb, "demo", *words, "--namespace", self.namespace)

    def install(self, *words: str, chart: Path = CHART) -> str:
        notes = self.run("install", chart, "--create-namespace", *words)
        await_pools(self.api)
        return notes

    def password(self) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/secrets/demo-redis"
        return base64.b64decode(self.api.request("GET", path).body["data"]["password"]).decode()

    def names(self, *kinds: str) -> list[str]:
        words = ("get", ",".join(kinds), "--namespace", self.namespace, "-o", "name")
        return self.api.kubectl(*words).stdout.split()


@pytest.fixture
def release(bare: ApiServer, tmp_path: Path) -> Iterator[Release]:
    made = Release(bare, Helm(tmp_path, bare.kubeconfig))
    yield made
    made.run("uninstall", "--ignore-not-found")
    bare.request("DELETE", CRD)
    eventually(lambda: bare.request("GET", CRD).code == 404, "the end of the definition")
    await_no_pools(bare)


def test_the_sample_pool_is_added_by_an_upgrade_after_the_first_install(release: Release) -> None:
    release.install()

    release.run("upgrade", CHART, *SAMPLE)

    assert release.names("workerpools", "persistentvolumeclaims") == [
        "workerpool.workerpool.dev/images",
        "persistentvolumeclaim/photos",
    ]


def test_a_first_install_with_the_sample_says_what_to_do_and_installs_nothing(
    release: Release,
) -> None:
    with pytest.raises(HelmError) as refused:
        release.install("--set=samplePool.enabled=true")

    advice = "helm upgrade demo <chart> --namespace"
    assert f"{advice} {release.namespace} {' '.join(SAMPLE).replace('-set=', '-set ')}" in str(
        refused.value
    )
    assert release.names("deployments", "statefulsets") == []


def test_the_password_of_redis_survives_upgrades(release: Release) -> None:
    release.install()
    first = release.password()

    shown = release.run("upgrade", CHART, "--dry-run=server")
    release.run("upgrade", CHART, "--set=redis.maxmemory=128mb")

    assert release.password() == first
    assert f"requirepass {first}" in shown
    assert re.fullmatch("[A-Za-z0-9]{32}", first)


def test_two_installs_never_share_a_password(release: Release) -> None:
    release.install()
    first = release.password()
    release.run("uninstall")

    release.install()

    assert release.password() != first


def test_an_upgrade_brings_the_fields_of_a_newer_release(release: Release, tmp_path: Path) -> None:
    older = tmp_path / "workerpool"
    shutil.copytree(CHART, older)
    copy = older / "files" / "crd.yaml"
    before, paused, after = copy.read_text().partition("                paused:\n")
    assert paused
    copy.write_text(before + after[after.index("            status:\n") :])
    release.install(chart=older)
    assert "paused" not in spec_fields(release.api)

    release.run("upgrade", CHART)

    assert "paused" in spec_fields(release.api)


def test_an_uninstalled_release_leaves_the_pools_of_the_cluster_alone(release: Release) -> None:
    release.install()
    release.run("upgrade", CHART, *SAMPLE)
    mine = pool(name="mine")
    mine["metadata"]["namespace"] = release.namespace
    release.api.kubectl("apply", "-f", "-", stdin=json.dumps(mine))

    release.run("uninstall")

    assert release.names("workerpools") == ["workerpool.workerpool.dev/mine"]


def test_another_release_can_take_over_the_resource_that_stayed(release: Release) -> None:
    release.install()
    release.run("uninstall")
    second = Release(release.api, release.helm)
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        second.install()

    second.install("--take-ownership")

    assert second.names("deployments") == ["deployment.apps/demo-operator"]
    second.run("uninstall")


def test_a_second_release_in_another_namespace_meets_nothing_of_the_first(
    release: Release,
) -> None:
    release.install()
    second = Release(release.api, release.helm)

    second.install("--set=crds.install=false", f"--set=watchNamespaces={{{release.namespace}}}")

    assert second.names("deployments") == ["deployment.apps/demo-operator"]
    lease = "role.rbac.authorization.k8s.io/demo-operator-lease"
    assert second.names("roles") == [lease], "where nothing is watched, its own lease alone"
    assert len(set(release.names("roles")) - {lease}) == 1
    second.run("uninstall")


def test_the_notes_tell_three_commands_about_things_that_exist(release: Release) -> None:
    notes = release.install()

    assert re.findall(r"^\d\. ", notes, re.MULTILINE) == ["1. ", "2. ", "3. "]
    assert (
        f"kubectl --namespace {release.namespace} rollout status deployment/demo-operator" in notes
    )
    assert "deployment.apps/demo-operator" in release.names("deployments")
    assert "exec demo-redis-0 -- redis-cli RPUSH queue:images '{" in notes
    assert "statefulset.apps/demo-redis" in release.names("statefulsets")
    [upgrade] = re.findall(r"^ +helm (upgrade demo .*)$", notes, re.MULTILINE)

    # The chart's own advice is followed to the letter, from the repository's root.
    followed = release.helm.run(*upgrade.replace("charts/workerpool", str(CHART)).split())

    assert "get workerpool images --watch" in followed
    assert release.names("workerpools") == ["workerpool.workerpool.dev/images"]


def spec_fields(api: ApiServer) -> set[str]:
    [version] = api.request("GET", CRD).body["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
