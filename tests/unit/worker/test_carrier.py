import fcntl
import os
from pathlib import Path

import pytest

from image_worker import carrier


def test_a_carrier_that_starts_meanwhile_leaves_a_fresh_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    others: list[Path] = []

    def flock(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX and len(others) == 0:
            monkeypatch.setattr(fcntl, "flock", lock)
            others.append(carrier.scratch_folder(tmp_path))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    own = carrier.scratch_folder(tmp_path)
    assert [sorted(one.iterdir()) for one in (own, *others)] == [
        [one / "in", one / "out"] for one in (own, *others)
    ]
    assert set(tmp_path.iterdir()) == {own, *others}


def test_what_a_killed_carrier_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / f"{carrier.SCRATCH_PREFIX}left"
    (left / "in").mkdir(parents=True)
    (left / "in" / carrier.PHOTO).write_bytes(os.urandom(10))
    own = carrier.scratch_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {own}
