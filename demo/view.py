"""Draw the live view: what waits, what is busy, how many pods, what is done. Pure.

Knows a snapshot and the width of a line; no terminal, no clock, no cluster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demo.terminal import CYAN, DIM, GREEN, ORANGE

Paint = Callable[[str, str], str]
"""Takes a text and a colour of `demo.terminal`, returns the text in that colour."""

_LABEL, _FIGURE = 10, 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at one moment; None is not known yet."""

    seconds: float
    """Since the first job was pushed."""
    waiting: int | None = None
    busy: int | None = None
    replicas: int | None = None
    ready: int | None = None
    done: int | None = None
    dead: int = 0
    message: str = ""


def render(past: Sequence[Snapshot], total: int, most: int, width: int, paint: Paint) -> list[str]:
    """Return the lines of the view for the latest snapshot of a non-empty past.

    `total` is the number of jobs, `most` the pool's maxReplicas; they are the bars' full lengths.
    """
    now = past[-1]
    bars = width - _LABEL - _FIGURE - 4
    replicas = _figure(now.replicas) + ("" if now.ready is None else f"  ({now.ready} ready)")
    dead = f"  ({now.dead} dead)" if now.dead else ""
    rows = (
        ("waiting", now.waiting, total, _figure(now.waiting), CYAN),
        ("busy", now.busy, most, _figure(now.busy), ORANGE),
        ("replicas", now.replicas, most, replicas, ORANGE),
        ("done", now.done, total, f"{_figure(now.done)} of {total}{dead}", GREEN),
    )
    lines = [
        f"  {label:<{_LABEL}} {paint(bar(value or 0, full, bars), colour)} {figure}"
        for label, value, full, figure, colour in rows
    ]
    history = (
        ("waiting", [s.waiting for s in past], total, CYAN),
        ("replicas", [s.replicas for s in past], most, ORANGE),
    )
    lines.append("")
    lines += [
        f"  {label:<{_LABEL}} {paint(sparkline(values, full, bars), colour)}"
        f" {'over time' if label == 'waiting' else f'{now.seconds:.0f} s'}"
        for label, values, full, colour in history
    ]
    return [*lines, "", "  " + paint(cut(now.message, width - 2), DIM)]


def plain(now: Snapshot, total: int) -> str:
    """Return the snapshot as one line, for logs."""
    dead = f"  dead {now.dead}" if now.dead else ""
    return (
        f"  {now.seconds:6.1f} s  waiting {_figure(now.waiting):>4}  busy {_figure(now.busy):>3}  "
        f"replicas {_figure(now.replicas):>3}  ready {_figure(now.ready):>3}  "
        f"done {_figure(now.done):>4} of {total}{dead}"
    )


def cut(text: str, width: int) -> str:
    """Return the text, or as much of it as fits."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[:width]


def bar(value: int, full: int, width: int) -> str:
    """Return a bar of eighths of a character, padded to the width; anything above 0 is seen."""
    eighths = min(width * 8, round(value / max(1, full) * width * 8))
    if value > 0:
        eighths = max(1, eighths)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def sparkline(values: Sequence[int | None], full: int, width: int) -> str:
    """Return a line of blocks, the whole past squeezed into the width; a column is its maximum."""
    columns = min(width, len(values))
    heights = []
    for column in range(columns):
        first, end = column * len(values) // columns, (column + 1) * len(values) // columns
        known = [value for value in values[first:end] if value is not None]
        heights.append(max(known, default=0))
    levels = (min(8, -(-height * 8 // max(1, full))) for height in heights)
    return "".join(_LEVELS[level] for level in levels).ljust(width)


def _figure(value: int | None) -> str:
    return "-" if value is None else str(value)
