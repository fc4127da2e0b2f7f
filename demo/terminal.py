"""Write to a terminal: colours where they are wanted, and a block that is drawn again in place.

Knows escape codes; not what is shown. Where output is no terminal nothing is ever overwritten.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

CYAN, ORANGE, GREEN, RED, DIM, BOLD = "36", "38;5;208", "32", "31", "2", "1"
_COMMAND_WIDTH = 72


class Terminal:
    """One output stream and the block of lines that is at its end for the moment."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._lines_in_place = 0
        self.is_live = out.isatty() and os.environ.get("TERM") != "dumb"
        self.has_colour = self.is_live and "NO_COLOR" not in os.environ

    @property
    def width(self) -> int:
        """Return how many characters fit on a line, within reason."""
        return max(40, min(100, shutil.get_terminal_size((80, 24)).columns - 1))

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour, or as it is where colours are not wanted."""
        return f"\033[{colour}m{text}\033[0m" if self.has_colour else text

    def line(self, text: str = "") -> None:
        """Write a line that stays; whatever was in place is gone."""
        self.redraw(())
        self._write(text + "\n")

    def redraw(self, lines: Sequence[str]) -> None:
        """Replace the block in place; without a terminal nothing is shown."""
        if not self.is_live:
            return
        up = f"\033[{self._lines_in_place}F" if self._lines_in_place else ""
        # Line by line: a terminal that keeps what is cleared would keep every frame.
        self._write(up + "".join(f"{line}\033[K\n" for line in lines) + "\033[J")
        self._lines_in_place = len(lines)

    def keep(self) -> None:
        """Let the block in place stay for good."""
        self._lines_in_place = 0

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def command_line(words: Sequence[str]) -> str:
    """Return a command about as a person would type it, without a long tail of arguments."""
    line = " ".join([Path(words[0]).name, *words[1:]])
    return line if len(line) <= _COMMAND_WIDTH else line[: _COMMAND_WIDTH - 2] + " …"


def duration(seconds: float) -> str:
    """Return a duration as people read it: "0.4 s", "42 s", "3 min 07 s"."""
    if seconds < 9.95:  # noqa: PLR2004 - from ten on, tenths tell nothing
        return f"{seconds:.1f} s"
    if seconds < 99.5:  # noqa: PLR2004 - the last two-digit second
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"
