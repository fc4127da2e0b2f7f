from dataclasses import replace
from pathlib import Path

import pytest

from demo.picture import draw
from demo.recording import Recording, Times, load, save
from demo.view import Snapshot

RECORDING = Recording(
    recorded="2026-11-23",
    photos=300,
    max_replicas=10,
    stabilization_seconds=5,
    cpu="Shared 250m",
    times=Times(0.9, 1.2, 20.5, 26.0),
    samples=(Snapshot(0.0), Snapshot(1.0, 300, 2, 10, 4, 1), Snapshot(26.0, 0, 0, 0, 0, 300)),
)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "run.json"
    save(RECORDING, file)
    assert load(file) == RECORDING
    assert len(file.read_text().splitlines()) > len(RECORDING.samples)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_recording_becomes_a_picture(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"run.{suffix}"
    draw(RECORDING, file)
    assert file.stat().st_size > 10_000


def test_the_same_recording_gives_the_same_picture(tmp_path: Path) -> None:
    draw(RECORDING, tmp_path / "a.svg")
    draw(RECORDING, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_run_that_never_ended_has_a_picture_too(tmp_path: Path) -> None:
    draw(replace(RECORDING, times=Times()), tmp_path / "run.svg")
    assert (tmp_path / "run.svg").exists()
