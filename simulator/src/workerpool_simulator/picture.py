"""One PNG per trace: waiting jobs and replicas over time, a line per policy.

On the left the whole trace, on the right the minutes in which the queue was longest. The legend
says what the lines come to.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from workerpool_simulator.replay import Outcome, Point
from workerpool_simulator.trace import Trace

COLOURS = ("#0b6e99", "#c2410c", "#d9a406", "#6d5aa8")
BEFORE_MINUTES, AFTER_MINUTES = 0.5, 3.5
"""What is shown on the right, around the moment at which the queue was longest."""


def draw(trace: Trace, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture of a trace to `path`; the first of `outcomes` is what it is about."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        2, 2, sharex="col", sharey="row", figsize=(11, 5.6), dpi=100, width_ratios=(2, 1)
    )
    for number, (outcome, colour) in enumerate(zip(outcomes, COLOURS, strict=False)):
        for column in (0, 1):
            style = {
                "label": _label(outcome),
                "color": colour,
                "linewidth": 1.0 if number else 2.0,
                "zorder": len(COLOURS) - number,
            }
            minutes = [point.at / 60 for point in outcome.points]
            waiting = [point.waiting for point in outcome.points]
            replicas = [point.replicas for point in outcome.points]
            axes[0, column].step(minutes, waiting, where="post", **style)
            axes[1, column].step(minutes, replicas, where="post", **style)
    _frame(axes)
    longest = max(outcomes[0].points, key=lambda point: point.waiting, default=Point(0, 0, 0))
    begin = longest.at / 60 - BEFORE_MINUTES
    axes[1, 1].set_xlim(begin, longest.at / 60 + AFTER_MINUTES)
    title = f"when {outcomes[0].policy}'s queue is longest"
    axes[0, 1].set_title(title, loc="left", fontsize=10)
    work = sum(job.seconds for job in trace.jobs) / 3600
    title = f"{trace.name}: {len(trace.jobs):,} jobs, {work:.2f} hours of work"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="lower left", ncols=2, frameon=False
    )
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path)
    plt.close(figure)


def _label(outcome: Outcome) -> str:
    killed = f", {outcome.killed_jobs} jobs killed" if outcome.killed_jobs else ""
    undone = f", {outcome.undone} jobs not done" if outcome.undone else ""
    return (
        f"{outcome.policy}: p95 wait {outcome.p95_wait:.1f} s, "
        f"{outcome.worker_hours:.2f} worker-hours{killed}{undone}"
    )


def _frame(axes: Sequence[Sequence[Axes]]) -> None:
    (waiting, _), (replicas, _) = axes
    waiting.set_ylabel("jobs waiting")
    replicas.set_ylabel("replicas")
    for row in axes:
        for each in row:
            each.spines[["top", "right"]].set_visible(False)
            each.set_ylim(bottom=0)
            each.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            each.grid(alpha=0.25)
    for each in axes[1]:
        each.set_xlabel("minutes since the trace began")
