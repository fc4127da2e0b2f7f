"""Get a cluster: the one of this machine, built and started, or the one the person already has.

Knows the verbs of `python -m localcluster` and where it leaves what it made; everything about how
is its own.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.cluster import Cluster
from demo.errors import TimedOut, Unsupported
from demo.steps import Steps, run_logged

_BUILD_SECONDS = 3600
_START_SECONDS = 300
_CHECK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Image:
    """One image, as the cluster knows it."""

    repository: str
    tag: str


@dataclass(frozen=True, slots=True)
class Images:
    """The three images of an installation."""

    operator: Image
    worker: Image
    redis: Image


@dataclass(frozen=True, slots=True)
class Ground:
    """What the demo stands on."""

    checkout: Path

    @property
    def build(self) -> Path:
        """What was built, and kept."""
        return self.checkout / ".build"

    @property
    def logs(self) -> Path:
        """One log for each long step."""
        return self.build / "logs"

    @property
    def demo(self) -> Path:
        """What a run leaves for the person: thumbnails, pictures, figures."""
        return self.checkout / ".demo"

    @property
    def kubeconfig(self) -> Path:
        """The local cluster's kubeconfig."""
        return self.checkout / ".cluster" / "kubeconfig"

    @property
    def foreign(self) -> str | None:
        """The person's own KUBECONFIG; None for the local cluster.

        The local cluster's, still exported from an earlier `make up`, is not foreign.
        """
        given = os.environ.get("KUBECONFIG", "")
        if not given or Path(given).resolve() == self.kubeconfig.resolve():
            return None
        return given

    def program(self, name: str) -> Path:
        """Return kubectl or helm: ours if built, else the machine's."""
        built = self.build / "bin" / name
        found = shutil.which(name)
        return built if built.exists() or found is None else Path(found)

    @property
    def cluster(self) -> Cluster:
        """Return the access to the cluster, which need not run yet."""
        kubeconfig = self.foreign or str(self.kubeconfig)
        return Cluster(self.program("kubectl"), self.program("helm"), kubeconfig)


def start(ground: Ground, steps: Steps) -> Images:
    """Bring the local cluster up with the images in it."""
    logs = ground.logs
    with steps.step("Check this machine"):
        _localcluster(ground, "preflight")
        _refuse_another_checkouts(ground)
    with steps.step("Install packages") as step:
        run_logged(step, _words("install-packages"), logs / "packages.log", timeout_seconds=900)
    with steps.step("Build Kubernetes") as step:
        run_logged(step, _words("build"), logs / "programs.log", timeout_seconds=_BUILD_SECONDS)
    with steps.step("Build the images") as step:
        log = logs / "images.log"
        run_logged(step, _words("build-images"), log, timeout_seconds=_BUILD_SECONDS)
        step.result = _sizes(ground)
    with steps.step("Start Kubernetes") as step:
        run_logged(step, _words("up"), logs / "up.log", timeout_seconds=_START_SECONDS)
        step.result = "two nodes"
    archives = [str(ground.checkout / entry["archive"]) for entry in _index(ground).values()]
    with steps.step("Load the images") as step:
        log = logs / "load.log"
        run_logged(step, _words("load-image", *archives), log, timeout_seconds=_START_SECONDS)
    return _images(ground, "localhost")


def stop(ground: Ground, steps: Steps) -> None:
    """Take the local cluster down, with everything in it."""
    with steps.step("Stop Kubernetes") as step:
        run_logged(step, _words("down"), ground.logs / "down.log", timeout_seconds=_START_SECONDS)


def use(ground: Ground, steps: Steps, repository: str) -> Images:
    """Use the person's cluster: build the images, and push them where it can pull them."""
    logs = ground.logs
    missing = [name for name in ("kubectl", "helm") if shutil.which(ground.program(name)) is None]
    if missing:
        raise Unsupported(
            f"{' and '.join(missing)} cannot be found: install them, or run `make programs`"
        )
    with steps.step("Build and push the images") as step:
        run_logged(step, _words("install-packages"), logs / "packages.log", timeout_seconds=900)
        words = _words("build-images", "--push", repository)
        run_logged(step, words, logs / "images.log", timeout_seconds=_BUILD_SECONDS)
        step.result = _sizes(ground)
    return _images(ground, repository)


def _localcluster(ground: Ground, verb: str) -> None:
    """Run a verb that only looks; what it has against this machine is told as it says it."""
    try:
        done = subprocess.run(
            _words(verb),
            cwd=ground.checkout,
            capture_output=True,
            text=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"`localcluster {verb}` gave no answer in {_CHECK_SECONDS} s") from error
    if done.returncode != 0:
        raise Unsupported((done.stderr or done.stdout).strip())


def _refuse_another_checkouts(ground: Ground) -> None:
    """Say now, and not after minutes of building, that another checkout's cluster runs here."""
    from localcluster import errors, ownership  # noqa: PLC0415 - it needs the Linux just checked

    try:
        ownership.check(ground.checkout)
    except errors.OwnedElsewhere as error:
        raise Unsupported(str(error)) from error


def _words(*verb: str) -> list[str]:
    """Return the command of a verb; what needs root asks for it itself."""
    return [sys.executable, "-m", "localcluster", *verb]


def _index(ground: Ground) -> dict[str, dict[str, Any]]:
    """Return what was built: by name, its `image`, its `archive`, and that one's `bytes`."""
    index: dict[str, dict[str, Any]] = json.loads((ground.build / "images/index.json").read_text())
    return index


def _images(ground: Ground, repository: str) -> Images:
    names = {name: entry["image"].rpartition(":")[2] for name, entry in _index(ground).items()}

    def image(name: str) -> Image:
        return Image(f"{repository.rstrip('/')}/{name}", names[name])

    return Images(image("workerpool-operator"), image("image-worker"), image("redis"))


def _sizes(ground: Ground) -> str:
    """Return the images' sizes, as a person wants to know them."""
    sizes = {name: entry["bytes"] / 1e6 for name, entry in _index(ground).items()}
    return ", ".join(f"{name.split('-')[-1]} {size:.0f} MB" for name, size in sizes.items())
