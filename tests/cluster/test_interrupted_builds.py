"""What a build of images leaves when it is cut short: real buildah, no cluster."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import images, locks, mounts
from localcluster.layout import Layout


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Layout]:
    """A checkout with a half-made image, mounted as buildah leaves it when it is killed."""
    layout = Layout(tmp_path)
    layout.images.mkdir(parents=True)
    name = buildah(layout, "from", "scratch")
    buildah(layout, "mount", name)
    assert mounted(layout)
    yield layout
    if layout.build.exists():
        buildah(layout, "rm", "--all")


def buildah(layout: Layout, *words: str) -> str:
    storage = layout.build / "containers"
    command = ("buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"))
    done = subprocess.run(
        [*command, "--storage-driver", "overlay", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def mounted(layout: Layout) -> list[Path]:
    return [point for point in mounts.points() if point.is_relative_to(layout.checkout)]


def test_what_an_interrupted_build_left_is_unmounted_and_removed(interrupted: Layout) -> None:
    images.forget_interrupted(interrupted)
    assert mounted(interrupted) == []
    assert buildah(interrupted, "containers", "--quiet") == ""


def test_a_build_at_work_keeps_what_it_has_mounted(interrupted: Layout) -> None:
    before = mounted(interrupted)
    with locks.held(interrupted.images, timeout_seconds=1, otherwise="nobody else is here"):
        images.forget_interrupted(interrupted)
        assert mounted(interrupted) == before
    images.forget_interrupted(interrupted)
    assert mounted(interrupted) == []


def test_what_was_built_is_removed_though_a_build_was_interrupted(interrupted: Layout) -> None:
    images.remove_all(interrupted)
    assert mounted(interrupted) == []
    assert not interrupted.build.exists()
