"""Tell the steps of a long way: one calm line each, with what came out and how long it took.

Knows the terminal and the clock; not what the steps do.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo.errors import CommandFailed
from demo.terminal import DIM, GREEN, RED, Terminal, command_line, duration
from demo.view import cut

_TITLE_WIDTH = 26
_PLAIN_SECONDS = 30.0
"""Without a terminal, a step that takes long says so this often."""
_LOG_TAIL_LINES = 12


class Step:
    """One step under way."""

    def __init__(self, terminal: Terminal, title: str) -> None:
        self._terminal = terminal
        self._title = title
        self._started = self._said = time.monotonic()
        self.result = ""
        """What came out of it, in a few words; shown when the step is over."""

    @property
    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._started

    def progress(self, text: str, lines: Sequence[str] = ()) -> None:
        """Show what is going on: in place on a terminal, now and then a line elsewhere."""
        if self._terminal.is_live:
            head = self._row("…", text)
            self._terminal.redraw([head, *lines])
        elif time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            self._terminal.line(self._row("…", text))

    def over(self, mark: str, colour: str) -> None:
        """Write the line that stays."""
        self._terminal.line(self._row(self._terminal.paint(mark, colour), self.result))

    def _row(self, mark: str, text: str) -> str:
        took = duration(self.seconds)
        room = max(0, self._terminal.width - _TITLE_WIDTH - len(took) - 7)
        return f"  {mark} {self._title:<{_TITLE_WIDTH}} {cut(text, room):<{room}} {took}"


class Steps:
    """The way as a whole."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run one step: a line when it is over, marked by whether it went well."""
        step = Step(self.terminal, title)
        step.progress("")
        try:
            yield step
        except BaseException:
            step.over("✗", RED)
            raise
        step.over("✓", GREEN)

    def say(self, text: str = "") -> None:
        """Write a remark between steps."""
        self.terminal.line(self.terminal.paint(text, DIM) if text else "")


def run_logged(
    step: Step,
    command: Sequence[str | Path],
    log: Path,
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a long program with its output in a log, showing its latest line as progress."""
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    with (
        log.open("w") as output,
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as process,
    ):
        try:
            while (code := _wait(process)) is None and time.monotonic() < deadline:
                step.progress(_last_line(log) or f"log: {shown(log)}")
        finally:
            process.terminate()
    if code is None:
        how = f"did not end within {duration(timeout_seconds)}"
    elif code != 0:
        how = f"ended with {code}"
    else:
        return
    raise CommandFailed(
        f"`{command_line(words)}` {how}.\n  Its log is {shown(log)}, and ends:\n\n{tail(log)}"
    )


def shown(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def tail(log: Path, lines: int = _LOG_TAIL_LINES) -> str:
    """Return a log's last lines, indented."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=0.25)
    except subprocess.TimeoutExpired:
        return None


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").split("\n")
    printable = ("".join(c for c in line if c.isprintable()).strip() for line in reversed(lines))
    return next((line for line in printable if line), "")
