"""What the worker tells of itself: log lines, metrics, health.

It knows formats and counters; it must not know Redis, images, or when anything happens:
clocks are handed in.  Decoding children never come here.
"""

import json
import logging
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from image_worker.settings import LogFormat

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
LOG: Final = logging.getLogger("image_worker")
_encode: Final = json.JSONEncoder(default=str).encode
Labels = tuple[tuple[str, str], ...]


def log(level: int, message: str, **fields: object) -> None:
    """Log a sentence with its facts as fields."""
    if LOG.isEnabledFor(level):
        # Made by hand: to find out who called takes longer than to write the line.
        record = logging.LogRecord(LOG.name, level, "", 0, message, None, None)
        record.facts = fields
        LOG.handle(record)


class JsonLines(logging.Formatter):
    """One JSON object a line; hostile file names come out escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class TextLines(logging.Formatter):
    """Words for a person; values are quoted as JSON, so a line stays a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's)
        """Write the words, then the facts."""
        facts: Mapping[str, object] = getattr(record, "facts", {})
        words = (f"{name}={_encode(value)}" for name, value in facts.items())
        return " ".join([super().formatMessage(record), *words])


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Send this package's lines to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines() if log_format is LogFormat.JSON else TextLines())
    LOG.handlers = [handler]
    LOG.setLevel(level)
    LOG.propagate = False


class Metrics:
    """Counters, gauges and one kind of histogram, in Prometheus's text format.

    Every name is declared with its help before use, so that each line has a meaning written
    beside it, and shows up as zero before anything happened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, list[float]] = {}

    def declare(self, name: str, kind: str, text: str) -> None:
        """Declare a counter, gauge or histogram."""
        self._kinds[name] = (kind, text)
        if kind == "histogram":
            self._histograms[name] = [0.0] * (len(SECONDS_BUCKETS) + 2)
        else:
            self._values[name] = {}

    def add(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter or gauge."""
        key = tuple(sorted(labels.items())) if labels else ()
        with self._lock:
            series = self._values[name]
            series[key] = series.get(key, 0) + by

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name][tuple(sorted(labels.items()))] = value

    def observe(self, name: str, seconds: float) -> None:
        """Count one observation: per bucket (made cumulative when read), in all, and summed."""
        with self._lock:
            cells = self._histograms[name]
            cells[bisect_left(SECONDS_BUCKETS, seconds)] += 1
            cells[-1] += seconds

    def render(self) -> str:
        """Write everything in the text exposition format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, (kind, text) in self._kinds.items():
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                if kind == "histogram":
                    lines += _histogram(name, self._histograms[name])
                else:
                    series = self._values[name] or {(): 0.0}
                    lines += [
                        f"{name}{_braces(labels)} {value:.17g}" for labels, value in series.items()
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
