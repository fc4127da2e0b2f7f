import fcntl
import os
from pathlib import Path

import pytest

from image_worker import carrier


@pytest.mark.parametrize("before", ["open", "flock"])
def test_a_carrier_whose_folder_another_removes_before_it_is_locked_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    module = os if before == "open" else fcntl
    call = getattr(module, before)
    others: list[Path] = []

    def interrupted(*words: object) -> object:
        monkeypatch.setattr(module, before, call)
        others.append(carrier.scratch_folder(tmp_path))
        return call(*words)

    monkeypatch.setattr(module, before, interrupted)
    own = carrier.scratch_folder(tmp_path)
    assert [sorted(one.iterdir()) for one in (own, *others)] == [
        [one / "in", one / "out"] for one in (own, *others)
    ]
    assert set(tmp_path.iterdir()) == {own, *others}


def test_a_carrier_that_is_killed_before_it_has_its_lock_leaves_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", killed)
        with pytest.raises(KeyboardInterrupt):
            carrier.scratch_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    own = carrier.scratch_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {own}


def test_what_a_killed_carrier_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / f"{carrier.SCRATCH_PREFIX}left"
    (left / "in").mkdir(parents=True)
    (left / "in" / carrier.PHOTO).write_bytes(os.urandom(10))
    own = carrier.scratch_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {own}
