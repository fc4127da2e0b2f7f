"""One PNG per trace: waiting jobs and replicas over time, a line per policy."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from workerpool_simulator.replay import Outcome

COLOURS = ("#0b6e99", "#c2410c", "#d9a406", "#6d5aa8")


def draw(name: str, outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture of a trace to `path`."""
    mpl.use("Agg")
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(9, 4.6), dpi=90)
    for number, (outcome, colour) in enumerate(zip(outcomes, COLOURS, strict=False)):
        minutes = [point.at / 60 for point in outcome.points]
        style = {
            "label": outcome.policy,
            "color": colour,
            "linewidth": 0.9 if number else 1.6,
            "zorder": len(COLOURS) - number,  # the first one is what the picture is about
        }
        above.step(minutes, [p.waiting for p in outcome.points], where="post", **style)
        below.step(minutes, [p.replicas for p in outcome.points], where="post", **style)
    above.set_title(name, loc="left")
    above.set_ylabel("jobs waiting")
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
    above.legend(frameon=False, ncols=len(outcomes), **place)
    below.set_ylabel("replicas")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
