"""`.ci/run` beside another of its kind on the same machine; what it calls is made up here."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.waiting import eventually

RUN = Path(__file__).parents[2] / ".ci" / "run"
SAY = '#!/bin/sh\necho "$NAME {}" >>"$SAID"\n'
WAIT = 'read -r _ <"$GO"\n'
SECONDS = 60


class Machine:
    """A machine with checkouts in which `.ci/run` calls programs of ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = folder / "said"
        self._said.touch()
        self._programs = folder / "bin"
        self._programs.mkdir()
        self.runs: list[subprocess.Popen[str]] = []
        self._program("python3", SAY.format("down"))
        self._program("make", SAY.format("tests") + WAIT)

    def start(self, name: str) -> subprocess.Popen[str]:
        """Run it in a checkout of that name, whose tests take until `end`."""
        (self._folder / name / ".ci").mkdir(parents=True)
        copy = Path(shutil.copy(RUN, self._folder / name / ".ci" / "run"))
        os.mkfifo(self._fifo(name))
        run = subprocess.Popen(
            [copy],
            env={
                "PATH": f"{self._programs}:{os.environ['PATH']}",
                "CI_LOCK": str(self._folder),
                "NAME": name,
                "SAID": str(self._said),
                "GO": str(self._fifo(name)),
            },
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.runs.append(run)
        return run

    def end(self, name: str) -> None:
        """Let the tests of a checkout come to their end."""
        self._fifo(name).write_text("\n")

    def said(self) -> list[str]:
        """Return what was called so far, and by whom."""
        return self._said.read_text().splitlines()

    def _fifo(self, name: str) -> Path:
        return self._folder / f"{name}.go"

    def _program(self, name: str, script: str) -> None:
        path = self._programs / name
        path.write_text(script)
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for run in machine.runs:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=SECONDS)


def begin(machine: Machine, name: str) -> subprocess.Popen[str]:
    """Start a run, and wait until its tests are at work."""
    run = machine.start(name)
    eventually(lambda: machine.said()[-2:] == [f"{name} down", f"{name} tests"], machine.said)
    return run


def begin_in_vain(machine: Machine, name: str) -> subprocess.Popen[str]:
    """Start a run, and wait until it says that another is at work."""
    run = machine.start(name)
    assert run.stderr
    assert "another run is at work on this machine" in run.stderr.readline()
    assert f"{name} down" not in machine.said()
    return run


def test_a_second_run_touches_nothing_until_the_first_has_ended(machine: Machine) -> None:
    first = begin(machine, "first")
    second = begin_in_vain(machine, "second")
    machine.end("first")
    assert first.wait(SECONDS) == 0
    eventually(lambda: machine.said()[2:] == ["first down", "second down", "second tests"], "two")
    machine.end("second")
    assert second.wait(SECONDS) == 0


def test_a_run_that_is_ended_while_it_waits_takes_nothing_down(machine: Machine) -> None:
    begin(machine, "first")
    second = begin_in_vain(machine, "second")
    second.terminate()
    assert second.wait(SECONDS) != 0
    assert machine.said() == ["first down", "first tests"]


def test_a_killed_run_lasts_as_long_as_the_tests_that_it_started(machine: Machine) -> None:
    first = begin(machine, "first")
    first.kill()
    first.wait(SECONDS)
    begin_in_vain(machine, "second")
    machine.end("first")
    eventually(lambda: machine.said()[2:] == ["second down", "second tests"], machine.said)
