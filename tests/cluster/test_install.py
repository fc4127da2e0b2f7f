"""The ways in which the README installs the product, each with a photo that goes through."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from support.kubectl import Kubectl
from support.photos import Photo, faults_of_thumbnail
from support.product import (
    CHART,
    ROOT,
    THUMBNAIL_PIXELS,
    Images,
    folder_behind,
    make_namespace,
)
from support.waiting import eventually

SYSTEM = "workerpool-system"
"""The namespace that install.yaml makes."""
PLAIN = "workerpool-test-plain"
HELM = "workerpool-test-helm"
RELEASE = "wpsample"
PHOTO = Photo(77, 1600, 1200, orientation=6)
OF_KUBERNETES = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
RESOURCE = "CustomResourceDefinition"
PASSING = ("event/", "event.events.k8s.io/", "lease.coordination.k8s.io/")


@pytest.fixture
def plain(kubectl: Kubectl, images: Images) -> Iterator[str]:
    """Apply the two manifests without Helm; the CRD stays, as it is everybody's."""
    make_namespace(kubectl, PLAIN)
    install = _with_images((ROOT / "manifests" / "install.yaml").read_text(), images)
    sample = _with_images((ROOT / "manifests" / "workerpool.yaml").read_text(), images)
    # The requests of the operator and of Redis leave no whole core on nodes that have but one.
    sample = sample.replace("policy: Exclusive", "policy: Shared\n    request: 1m")
    try:
        kubectl.run("apply", "-f", "-", stdin=install)
        kubectl.run("apply", "-n", PLAIN, "-f", "-", stdin=sample)
        yield PLAIN
    finally:
        kubectl.run("delete", "wp", "--all", "-n", PLAIN, "--timeout=120s", seconds=130)
        rest = [item for item in yaml.safe_load_all(install) if item["kind"] != RESOURCE]
        words = ("--ignore-not-found", "--timeout=200s")
        kubectl.run("delete", *words, "-f", "-", stdin=yaml.safe_dump_all(rest), seconds=210)
        kubectl.run("delete", "namespace", PLAIN, *words, seconds=210)


def test_two_plain_manifests_process_a_photo(plain: str, kubectl: Kubectl) -> None:
    words = ("rollout", "status", "deployment/workerpool-operator", "-n", SYSTEM)
    kubectl.run(*words, "--timeout=120s", seconds=130)
    _process_a_photo(kubectl, plain, redis="images-redis")


@pytest.fixture
def sample(kubectl: Kubectl, images: Images) -> Iterator[str]:
    """Install the chart with its sample pool."""
    make_namespace(kubectl, HELM)
    try:
        kubectl.helm(
            *("install", RELEASE, str(CHART), "-n", HELM, "--wait", "--timeout=240s"),
            # The cluster knows the resource already: that of another release, or kubectl's.
            *("--set=crds.install=false", f"--set=watchNamespaces={{{HELM}}}"),
            *("--set=samplePool.enabled=true", "--set=samplePool.cpu.policy=Shared"),
            "--set=samplePool.cpu.request=1m",
            *images.as_values(),
        )
        yield HELM
    finally:
        kubectl.run("delete", "wp", "--all", "-n", HELM, "--timeout=120s", seconds=130)
        kubectl.helm("uninstall", RELEASE, "-n", HELM, "--ignore-not-found", "--wait")
        kubectl.run("delete", "namespace", HELM, "--timeout=200s", seconds=210)


def test_the_charts_sample_processes_a_photo_and_goes_without_a_trace(
    sample: str, kubectl: Kubectl
) -> None:
    _process_a_photo(kubectl, sample, redis=f"{RELEASE}-redis")

    kubectl.helm("uninstall", RELEASE, "-n", sample, "--wait", "--timeout=120s")
    kept = {f"persistentvolumeclaim/data-{RELEASE}-redis-0"}
    eventually(
        lambda: _objects(kubectl, sample) == kept,
        lambda: f"left behind: {_objects(kubectl, sample)}",
        seconds=60,
        every=0.5,
    )
    kinds = "clusterroles,clusterrolebindings"
    ours = kubectl.run("get", kinds, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name")
    assert ours == ""
    assert kubectl.find("crd", "workerpools.workerpool.dev"), "the resource is everybody's"


def _process_a_photo(kubectl: Kubectl, namespace: str, *, redis: str) -> None:
    """Do what the notes of the chart say, and look at the result."""
    folder = folder_behind(kubectl, namespace, "photos")
    (folder / "in").mkdir()
    (folder / "in" / PHOTO.filename).write_bytes(PHOTO.jpeg())
    status = ("rollout", "status", f"statefulset/{redis}", "-n", namespace)
    kubectl.run(*status, "--timeout=120s", seconds=130)
    job = json.dumps({"filename": PHOTO.filename})
    words = ("redis-cli", "RPUSH", "queue:images", job)
    kubectl.run("exec", f"{redis}-0", "-n", namespace, "--", *words)
    thumbnail = folder / "out" / PHOTO.filename
    eventually(
        thumbnail.exists,
        lambda: kubectl.run("get", "wp,deploy,pods,events", "-n", namespace),
        seconds=60,
    )
    assert faults_of_thumbnail(PHOTO, thumbnail, THUMBNAIL_PIXELS) == []


def _with_images(manifest: str, images: Images) -> str:
    """Do what the manifest's header says, with the names of the images built here."""
    names = {"workerpool-operator": images.operator, "image-worker": images.worker}
    for name, image in names.items():
        manifest = re.sub(rf"\b{name}:0\S*", image, manifest)
    return manifest.replace("image: redis:7-bookworm", f"image: {images.redis}")


def _objects(kubectl: Kubectl, namespace: str) -> set[str]:
    """Return the names of everything in a namespace that somebody put there."""
    kinds = kubectl.run("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    found = kubectl.run("get", ",".join(kinds), "-n", namespace, "-o", "name").split()
    return {name for name in found if name not in OF_KUBERNETES and not name.startswith(PASSING)}
