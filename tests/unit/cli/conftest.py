"""The fixtures of the tool's tests; integration tests of the tool use them, too."""

import sys
from pathlib import Path

import pytest

from unit.cli.stage import FAKE, Cluster, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path))
    made = Cluster(tmp_path, str(program))
    made.set()
    return made
