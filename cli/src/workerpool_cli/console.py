"""Where the tool writes: results to stdout, everything about the way there to stderr.

It knows escape codes, and not what is shown.  Only a terminal is ever overwritten; elsewhere
progress is a line now and then.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

PLAIN_SECONDS = 10.0
"""Between two lines of progress where nothing can be overwritten."""
LIVE_SECONDS = 0.1
BAR_CELLS = 24
_COLOUR = re.compile(r"(\033\[[0-9;]*m)")
BOLD, DIM, RED = "1", "2", "31"


class Console:
    """Two streams, and the block of lines that is drawn in place for the moment."""

    def __init__(
        self, out: TextIO, err: TextIO, environ: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._out = out
        self._err = err
        self._clock = clock
        self._colour = "NO_COLOR" not in environ
        dumb = environ.get("TERM") == "dumb"
        self.out_is_live = out.isatty() and not dumb
        self.err_is_live = err.isatty() and not dumb
        self._drawn = 0
        # What is over soon needs no line in a log.
        self._next_progress = clock() + (0 if self.err_is_live else PLAIN_SECONDS)
        self._line_open = False

    @property
    def width(self) -> int:
        """Return how many characters fit on a line of stdout; a file takes any number."""
        return shutil.get_terminal_size((100, 24)).columns if self.out_is_live else 1000

    @property
    def height(self) -> int:
        """Return how many lines of stdout can be drawn again in place."""
        return max(1, shutil.get_terminal_size((100, 24)).lines - 1)

    def say(self, text: str = "") -> None:
        """Write a line of the result."""
        self._close_line()
        self._out.write(text + "\n")
        self._out.flush()

    def note(self, text: str) -> None:
        """Write a line about the way there."""
        self._close_line()
        self._err.write(text + "\n")
        self._err.flush()

    def ask(self, question: str) -> None:
        """Write a question and leave the cursor behind it."""
        self._close_line()
        self._err.write(question)
        self._err.flush()

    def redraw(self, lines: Sequence[str]) -> None:
        """Replace what was drawn before, on a terminal; elsewhere write the lines."""
        self._close_line()
        up = f"\033[{self._drawn}F\033[J" if self._drawn and self.out_is_live else ""
        self._out.write(up + "".join(line + "\n" for line in lines))
        self._out.flush()
        self._drawn = len(lines)

    def progress(self, words: str, done: int = 0, total: int | None = None) -> None:
        """Show how far it is, as often as makes sense where it is shown."""
        now = self._clock()
        if now < self._next_progress:
            return
        self._next_progress = now + (LIVE_SECONDS if self.err_is_live else PLAIN_SECONDS)
        if not self.err_is_live:
            self.note(words)
            return
        columns = shutil.get_terminal_size((80, 24)).columns
        line = f"{bar(done, total)} {words}" if total else words
        self._err.write("\r\033[K" + line[: columns - 1])
        self._err.flush()
        self._line_open = True

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour where the result is read by a person."""
        wanted = self.out_is_live and self._colour
        return f"\033[{colour}m{text}\033[0m" if wanted else text

    def _close_line(self) -> None:
        """Take the progress line away."""
        if self._line_open:
            self._err.write("\r\033[K")
            self._err.flush()
            self._line_open = False

    def clear(self) -> None:
        """End whatever is in the middle of being shown."""
        self._close_line()
        self._drawn = 0


def bar(done: int, total: int) -> str:
    """Draw a share of a whole."""
    full = min(BAR_CELLS, BAR_CELLS * done // max(1, total))
    return "█" * full + "░" * (BAR_CELLS - full)


def cut(line: str, width: int) -> str:
    """Cut a line to a width; colours take no room, and are ended."""
    kept, left = [], width
    for part in _COLOUR.split(line):
        if part.startswith("\033"):
            kept.append(part)
        else:
            kept.append(part[:left])
            left -= len(kept[-1])
    return "".join(kept)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Align columns to the left; the last one is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
