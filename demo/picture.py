"""Draw a recorded run: waiting jobs and replicas over time. Needs matplotlib.

Knows a recording; reads no cluster. The picture has no background of its own and uses colours
that are legible on white and on black, because a README is read on both.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demo.recording import Recording
from demo.view import Snapshot

_WAITING, _REPLICAS, _INK = "#3b8eea", "#f08c2e", "#8b949e"
_WAITING_HEADROOM, _REPLICAS_HEADROOM = 1.18, 1.5
"""Different, so that the two curves do not lie on each other."""


def draw(recording: Recording, file: Path) -> None:
    """Write the picture; the suffix (.svg or .png) says which kind."""
    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "xtick.major.pad": 7,
        "svg.hashsalt": "scale-out",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        jobs = figure.add_subplot()
        pods = jobs.twinx()
        _draw_waiting(jobs, recording)
        _draw_replicas(pods, recording)
        _mark_times(jobs, recording)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, transparent=True, dpi=200, metadata=metadata)


def _draw_waiting(axes: Axes, recording: Recording) -> None:
    seconds, waiting = _series([(s.seconds, s.waiting) for s in recording.samples])
    axes.fill_between(seconds, waiting, color=_WAITING, alpha=0.22, linewidth=0)
    axes.plot(seconds, waiting, color=_WAITING, linewidth=2.2)
    axes.set_ylim(0, recording.photos * _WAITING_HEADROOM)
    axes.set_yticks([recording.photos * third // 3 for third in range(4)])
    axes.set_xlim(0, recording.samples[-1].seconds)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("seconds since the first push")
    axes.set_ylabel("photos waiting", color=_WAITING, fontweight="bold")
    axes.tick_params(axis="y", colors=_WAITING)
    axes.grid(visible=True, axis="y", color=_INK, alpha=0.18)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _draw_replicas(axes: Axes, recording: Recording) -> None:
    for pick, line, alpha in ((_replicas, "-", 1.0), (_ready, ":", 0.9)):
        seconds, pods = _series([(s.seconds, pick(s)) for s in recording.samples])
        axes.step(seconds, pods, line, where="post", color=_REPLICAS, linewidth=2.2, alpha=alpha)
    axes.set_ylim(0, recording.max_replicas * _REPLICAS_HEADROOM)
    axes.set_ylabel("replicas  (dotted: ready)", color=_REPLICAS, fontweight="bold")
    axes.tick_params(axis="y", colors=_REPLICAS, length=0)
    step = max(1, recording.max_replicas // 6)
    axes.set_yticks(range(0, recording.max_replicas + 1, step))
    axes.spines[["top", "left", "right", "bottom"]].set_visible(False)


def _mark_times(axes: Axes, recording: Recording) -> None:
    times = recording.times
    marks = (
        (times.first_thumbnail, "first thumbnail", "left"),
        (times.all_done, f"all {recording.photos} done", "right"),
        (times.back_at_zero, "zero again", "right"),
    )
    for at, text, side in marks:
        if at is None:
            continue
        axes.axvline(at, color=_INK, linewidth=1, linestyle=(0, (2, 3)))
        label = f" {text}, {at:.1f} s "
        axes.text(at, recording.photos * 1.1, label, ha=side, va="center", fontsize=10)


def _series(points: list[tuple[float, int | None]]) -> tuple[list[float], list[int]]:
    known = [(seconds, value) for seconds, value in points if value is not None]
    return [seconds for seconds, _ in known], [value for _, value in known]


def _replicas(sample: Snapshot) -> int | None:
    return sample.replicas


def _ready(sample: Snapshot) -> int | None:
    return sample.ready
