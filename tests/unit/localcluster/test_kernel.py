"""Kernel settings are put back as they were, where they can be and need to."""

from pathlib import Path

import pytest

from localcluster import kernel

NAME = "vm/overcommit_memory"


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A setting that was 0 when it was remembered."""
    monkeypatch.setattr(kernel, "_SETTINGS", tmp_path)
    monkeypatch.setattr(kernel, "_RECORD", tmp_path / "record.json")
    setting = tmp_path / NAME
    setting.parent.mkdir()
    setting.write_text("0\n")
    kernel.remember()
    return setting


def test_what_a_kubelet_changed_is_put_back(setting: Path) -> None:
    setting.write_text("1\n")
    kernel.restore()
    assert setting.read_text() == "0"


def test_what_nobody_changed_is_not_written_to(
    setting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, _: str) -> int:
        raise OSError(30, "Read-only file system", str(file))

    monkeypatch.setattr(Path, "write_text", refuse)
    kernel.restore()
    assert setting.read_text() == "0\n"
