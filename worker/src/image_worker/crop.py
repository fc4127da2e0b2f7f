"""Which part of a picture stays when its preset's box is filled.

Pure.  It knows gravities, and how much there is to see in a part of a picture; it must not
know formats, files or jobs.
"""

import math
from functools import cache

from PIL import Image

from image_worker.colour import opaque
from image_worker.presets import Gravity, Preset

Box = tuple[int, int, int, int]
STRIPS = 64
"""Places that are looked at along the side that is cut; as many samples lie across."""
GREYS = 32
"""Fewer than 256, so that noise in a plain sky is no detail."""


def box(image: Image.Image, preset: Preset) -> Box:
    """Say what stays of a picture that is at least as large as its preset's box one way."""
    width, height = min(image.width, preset.width), min(image.height, preset.height)
    left, top = _corner(image, width, height, preset.gravity)
    return left, top, left + width, top + height


def cut(image: Image.Image, to: Box) -> Image.Image:
    """Cut off what lies outside."""
    return image if to == (0, 0, *image.size) else image.crop(to)


def _corner(image: Image.Image, width: int, height: int, gravity: Gravity) -> tuple[int, int]:
    spare = image.width - width, image.height - height
    if spare == (0, 0):
        return spare
    if gravity is Gravity.ENTROPY:
        # Single pixels: means of many would lose the detail that is looked for.
        samples = image.resize((STRIPS, STRIPS), Image.Resampling.NEAREST)
        if spare[0] >= spare[1]:  # no box is smaller both ways
            turned = samples.transpose(Image.Transpose.TRANSPOSE)
            return _busiest(turned, width, spare[0]), spare[1] // 2
        return spare[0] // 2, _busiest(samples, height, spare[1])
    words = gravity.split("-")
    left = _along(words, "left", "right", spare[0])
    return left, _along(words, "top", "bottom", spare[1])


def _along(words: list[str], first: str, last: str, spare: int) -> int:
    if first in words:
        return 0
    return spare if last in words else spare // 2


def _busiest(samples: Image.Image, size: int, spare: int) -> int:
    """Return how much to leave out before the part whose greys are the most varied.

    That is the part with the largest Shannon entropy; of equal ones the most central.
    `samples` has one row for each place along the side, of which `size` stays.
    """
    greys = opaque(samples).convert("L").tobytes()
    rows = [greys[at : at + STRIPS] for at in range(0, len(greys), STRIPS)]
    shown = min(STRIPS - 1, max(1, round(STRIPS * size / (size + spare))))
    counts = [0] * GREYS
    best, best_order, middle = 0, math.inf, (STRIPS - shown) / 2
    for place, row in enumerate(rows):
        _count(counts, row, 1)
        start = place - shown + 1
        if start < 0:
            continue
        # The entropy is log n - order / n, and n is the same everywhere.
        order = sum(_weight(count) for count in counts)
        tie = math.isclose(order, best_order, rel_tol=1e-9)
        if (tie and abs(start - middle) < abs(best - middle)) or (not tie and order < best_order):
            best, best_order = start, order
        _count(counts, rows[start], -1)
    return round(spare * best / (STRIPS - shown))


def _count(counts: list[int], row: bytes, by: int) -> None:
    for grey in row:
        counts[grey * GREYS >> 8] += by


@cache
def _weight(count: int) -> float:
    return count * math.log2(count) if count else 0.0
