"""What the worker tells of itself: log lines, metrics, health.

It knows formats and counters; it must not know Redis, images, or when anything happens:
clocks are handed in.  Decoding children never come here.
"""

import json
import logging
import sys
import threading
import traceback
from bisect import bisect_left
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import BinaryIO, Final

from image_worker.settings import LogFormat

SECONDS_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    *(30, 60, 120, 300, 900, 3600),
)
_encode: Final = json.JSONEncoder(default=str).encode
Labels = tuple[tuple[str, str], ...]
Line = Callable[[float, int, str, Mapping[str, object]], str]


def json_line(seconds: float, level: int, message: str, facts: Mapping[str, object]) -> str:
    """Write one JSON object; hostile file names come out escaped.

    Pieced together by hand: an encoder made anew for each line costs more than the rest of it.
    """
    whole = int(seconds)
    parts = [
        f'{{"time": "{_to_the_second(whole)}.{int((seconds - whole) * 1000):03d}+00:00", ',
        f'"level": "{_level(level)}", "message": {_quoted(message)}',
    ]
    for name, value in facts.items():
        if type(value) is str:
            parts.append(f', "{name}": {_quoted(value)}')
        elif type(value) is int:
            parts.append(f', "{name}": {value}')
        else:
            parts.append(f', "{name}": {_encode(value)}')
    return "".join(parts) + "}"


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


@cache
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


def text_line(seconds: float, level: int, message: str, facts: Mapping[str, object]) -> str:
    """Write words for a person; values are quoted as JSON, so a line stays a line."""
    when = datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "milliseconds")
    words = (f"{name}={_encode(value)}" for name, value in facts.items())
    return " ".join([when, f"{logging.getLevelName(level):7}", message, *words])


class Log:
    """Writes each sentence with its facts as one line, at once.

    Levels are those of `logging`; its machinery is not used, since it takes as long as all
    else the supervisor does for a short job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._least = logging.WARNING
        self._line: Line = text_line
        self._out: BinaryIO = sys.stderr.buffer
        self._wall_clock: Callable[[], float] = lambda: 0.0

    def configure(
        self, level: str, log_format: LogFormat, out: BinaryIO, wall_clock: Callable[[], float]
    ) -> None:
        """Say what is written, how, and where."""
        self._least = logging.getLevelNamesMapping()[level]
        self._line = json_line if log_format is LogFormat.JSON else text_line
        self._out = out
        self._wall_clock = wall_clock

    def __call__(self, level: int, message: str, **facts: object) -> None:
        """Log a sentence with its facts as fields."""
        if level < self._least:
            return
        line = self._line(self._wall_clock(), level, message, facts) + "\n"
        try:
            with self._lock:
                self._out.write(line.encode(errors="backslashreplace"))
                self._out.flush()
        except (OSError, ValueError):
            return  # a log that cannot be written must not stop the work

    def exception(self, message: str) -> None:
        """Log the exception that is being handled, which nobody foresaw."""
        self(logging.ERROR, message, exception=traceback.format_exc())


log: Final = Log()


class Series:
    """One counter or gauge with its labels, looked up once and used for ever."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0.0

    def add(self, by: float = 1) -> None:
        """Add to it."""
        with self._lock:
            self.value += by

    def set(self, value: float) -> None:
        """Set it."""
        self.value = value


class Histogram:
    """Observed seconds: per bucket (made cumulative when read), and summed."""

    __slots__ = ("_lock", "cells")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.cells = [0.0] * (len(SECONDS_BUCKETS) + 2)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        cell = bisect_left(SECONDS_BUCKETS, seconds)
        with self._lock:
            self.cells[cell] += 1
            self.cells[-1] += seconds


class Metrics:
    """Counters, gauges and one kind of histogram, in Prometheus's text format.

    Every name is declared with its help before use, so that each line has a meaning written
    beside it, and shows up as zero before anything happened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[str, str]] = {}
        self._series: dict[str, dict[Labels, Series]] = {}
        self._histograms: dict[str, Histogram] = {}

    def declare(self, name: str, kind: str, text: str) -> None:
        """Declare a counter, gauge or histogram."""
        self._kinds[name] = (kind, text)
        if kind == "histogram":
            self._histograms[name] = Histogram()
        else:
            self._series[name] = {}

    def series(self, name: str, **labels: str) -> Series:
        """Return a counter or gauge, for those who use it for every job."""
        with self._lock:
            return self._series[name].setdefault(tuple(sorted(labels.items())), Series())

    def histogram(self, name: str) -> Histogram:
        """Return a histogram."""
        return self._histograms[name]

    def add(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter or gauge."""
        self.series(name, **labels).add(by)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.series(name, **labels).set(value)

    def render(self) -> str:
        """Write everything in the text exposition format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, (kind, text) in self._kinds.items():
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                if kind == "histogram":
                    lines += _histogram(name, self._histograms[name].cells)
                else:
                    series = self._series[name] or {(): Series()}
                    lines += [
                        f"{name}{_braces(labels)} {one.value:.17g}"
                        for labels, one in series.items()
                    ]
        return "\n".join(lines) + "\n"


class Health:
    """Whether every loop keeps its promise, and whether the pod may be called ready.

    Each loop says before every step when it will be back at the latest; a promise that was
    not kept is a stuck loop, and only a restart helps then.  Readiness says more: that work
    can be done now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._promises: dict[str, float] = {}
        self._obstacles: dict[str, str] = {"start": "the children are starting"}

    def back_within(self, loop: str, seconds: float) -> None:
        """Promise that this loop will promise again within so many seconds."""
        with self._lock:
            self._promises[loop] = self._clock() + seconds

    def ended(self, loop: str) -> None:
        """Say that this loop is over, and promises nothing more."""
        with self._lock:
            self._promises.pop(loop, None)

    def hinder(self, what: str, sentence: str) -> None:
        """Name a reason why we are not ready."""
        with self._lock:
            self._obstacles[what] = sentence

    def clear(self, what: str) -> None:
        """Take that reason back."""
        with self._lock:
            self._obstacles.pop(what, None)

    def stuck(self) -> tuple[str, ...]:
        """Name the loops that broke their promise, with how late they are."""
        now = self._clock()
        with self._lock:
            late = {loop: now - due for loop, due in self._promises.items() if now > due}
        return tuple(f"{loop} is {seconds:.0f} s late" for loop, seconds in late.items())

    def obstacles(self) -> tuple[str, ...]:
        """Name what keeps us from being ready."""
        with self._lock:
            return tuple(self._obstacles.values())


def _histogram(name: str, cells: list[float]) -> list[str]:
    lines = []
    total = 0.0
    bounds = [f"{bound:g}" for bound in SECONDS_BUCKETS] + ["+Inf"]
    for bound, cell in zip(bounds, cells, strict=False):
        total += cell
        lines.append(f'{name}_bucket{{le="{bound}"}} {total:.17g}')
    return [*lines, f"{name}_sum {cells[-1]:.17g}", f"{name}_count {total:.17g}"]


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
