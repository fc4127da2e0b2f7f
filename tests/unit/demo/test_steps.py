import sys
import time
from io import StringIO
from pathlib import Path

import pytest

from demo.errors import CommandFailed
from demo.steps import Steps, run_logged
from demo.terminal import Terminal


@pytest.fixture
def out() -> StringIO:
    return StringIO()


def test_a_step_tells_its_result_and_its_duration(
    out: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Steps(Terminal(out)).step("Build the images") as step:
        step.result = "186 MB"
        now[0] += 7.2
    (line,) = out.getvalue().splitlines()
    assert line.split() == ["✓", "Build", "the", "images", "186", "MB", "7.2", "s"]


def test_a_failed_step_is_marked_and_its_error_goes_on(out: StringIO) -> None:
    def fail() -> None:
        raise CommandFailed("no")

    steps = Steps(Terminal(out))
    with pytest.raises(CommandFailed), steps.step("Build the images"):
        fail()
    assert out.getvalue().split()[0] == "✗"


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_a_long_result_is_cut_to_the_line(
    columns: int, out: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal(out)
    with Steps(terminal).step("Build") as step:
        step.result = "word " * 100
    assert len(out.getvalue().rstrip("\n")) <= terminal.width
    assert "…" in out.getvalue()


def test_a_program_s_output_goes_to_its_log(out: StringIO, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "program.log"
    with Steps(Terminal(out)).step("Run") as step:
        run_logged(step, [sys.executable, "-c", "print('hello')"], log, timeout_seconds=60)
    assert log.read_text() == "hello\n"


def test_a_program_that_fails_is_quoted_with_the_end_of_its_log(
    out: StringIO, tmp_path: Path
) -> None:
    program = "import sys; print('why'); sys.exit(3)"
    log = tmp_path / "program.log"
    with (
        pytest.raises(CommandFailed, match=r"ended with 3\.(?s:.)*program\.log(?s:.)*    why"),
        Steps(Terminal(out)).step("Run") as step,
    ):
        run_logged(step, [sys.executable, "-c", program], log, timeout_seconds=60)


def test_a_program_that_does_not_end_is_ended(out: StringIO, tmp_path: Path) -> None:
    program = "import signal; signal.pause()"
    with (
        pytest.raises(CommandFailed, match=r"did not end within 0\.1 s"),
        Steps(Terminal(out)).step("Run") as step,
    ):
        run_logged(step, [sys.executable, "-c", program], tmp_path / "log", timeout_seconds=0.1)
