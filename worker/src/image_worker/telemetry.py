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
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
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

    Filled into a form by hand: an encoder made anew for each line costs more than the rest of it.
    """
    whole = int(seconds)
    values = [
        _quoted(value) if type(value) is str else value if type(value) is int else _encode(value)
        for value in facts.values()
    ]
    when = (_to_the_second(whole), int((seconds - whole) * 1000))
    return _form(level, message, *facts) % (*when, *values)


@lru_cache(maxsize=64)
def _form(level: int, message: str, *names: str) -> str:
    """Return a line with its values left out."""
    same = f'"level": "{logging.getLevelName(level).lower()}", "message": {_quoted(message)}'
    fields = "".join(f', "{name}": %s' for name in names)
    return f'{{"time": "%s.%03d+00:00", {same.replace("%", "%%")}{fields}}}'


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


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
    """One writer's part of a counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """One writer's part of the observed seconds: per bucket (not cumulative), and summed."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells = [0.0] * (len(SECONDS_BUCKETS) + 2)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.cells[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.cells[-1] += seconds


class Metrics:
    """Counters, gauges and one kind of histogram, in Prometheus's text format.

    Every name is declared with its help before use, so that each line has a meaning written
    beside it, and shows up as zero before anything happened.  Who counts for every job asks for
    a part of its own, to which no other thread writes: it needs no lock, and what is read is the
    sum of all parts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[str, str]] = {}
        self._series: dict[str, dict[Labels, list[Series]]] = {}
        """The first of each is for all who ask for no part."""
        self._histograms: dict[str, list[Histogram]] = {}

    def declare(self, name: str, kind: str, text: str) -> None:
        """Declare a counter, gauge or histogram."""
        self._kinds[name] = (kind, text)
        if kind == "histogram":
            self._histograms[name] = []
        else:
            self._series[name] = {}

    def series(self, name: str, **labels: str) -> Series:
        """Return a part of a counter or gauge, for one thread alone."""
        series = Series()
        with self._lock:
            self._parts(name, labels).append(series)
        return series

    def histogram(self, name: str) -> Histogram:
        """Return a part of a histogram, for one thread alone."""
        histogram = Histogram()
        with self._lock:
            self._histograms[name].append(histogram)
        return histogram

    def add(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter or gauge."""
        with self._lock:
            self._parts(name, labels)[0].value += by

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of which nobody has a part."""
        with self._lock:
            self._parts(name, labels)[0].value = value

    def render(self) -> str:
        """Write everything in the text exposition format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, (kind, text) in self._kinds.items():
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                if kind == "histogram":
                    lines += _histogram(name, self._histograms[name])
                else:
                    series = self._series[name] or {(): [Series()]}
                    lines += [
                        f"{name}{_braces(labels)} {sum(part.value for part in parts):.17g}"
                        for labels, parts in series.items()
                    ]
        return "\n".join(lines) + "\n"

    def _parts(self, name: str, labels: Mapping[str, str]) -> list[Series]:
        return self._series[name].setdefault(tuple(sorted(labels.items())), [Series()])


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
        self._promises[loop] = self._clock() + seconds  # the interpreter's own lock is enough

    def ended(self, loop: str) -> None:
        """Say that this loop is over, and promises nothing more."""
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
        late = {loop: now - due for loop, due in self._promises.copy().items() if now > due}
        return tuple(f"{loop} is {seconds:.0f} s late" for loop, seconds in late.items())

    def obstacles(self) -> tuple[str, ...]:
        """Name what keeps us from being ready."""
        with self._lock:
            return tuple(self._obstacles.values())


def _histogram(name: str, parts: Sequence[Histogram]) -> list[str]:
    lines = []
    columns = zip(Histogram().cells, *(part.cells for part in parts), strict=True)
    cells = [sum(column) for column in columns]
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
