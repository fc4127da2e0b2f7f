"""How the command line ends where something outside of it went wrong."""

import errno

import pytest

from localcluster import cluster
from localcluster.__main__ import main


def fail_with(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def inspect(_: object) -> cluster.Status:
        raise error

    monkeypatch.setattr(cluster, "inspect", inspect)


def test_a_full_disk_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/x/kubeconfig"))
    assert main(["status"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device: '/x/kubeconfig'; make room" in line


def test_an_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        main(["status"])
