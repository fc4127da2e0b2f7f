"""Extremes of a sliding window, kept in as few samples as can still matter. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from operator import gt, lt

from workerpool_operator.model import Sample, Samples

LIMIT = 64
"""Samples kept at most; beyond it the two oldest merge, which only ever delays a change."""


def add_high(samples: Samples, sample: Sample, oldest: datetime) -> Samples:
    """Add `sample`; drop what is not after `oldest`, or can never be the maximum again."""
    return _add(samples, sample, oldest, gt)


def add_low(samples: Samples, sample: Sample, oldest: datetime) -> Samples:
    """Add `sample`; drop what is not after `oldest`, or can never be the minimum again."""
    return _add(samples, sample, oldest, lt)


def extreme(samples: Samples) -> int:
    """Return the maximum of highs, the minimum of lows: the oldest one that is left."""
    return samples[0].replicas


def _add(
    samples: Samples, sample: Sample, oldest: datetime, beyond: Callable[[int, int], bool]
) -> Samples:
    kept = [s for s in samples if s.at > oldest and beyond(s.replicas, sample.replicas)]
    kept.append(sample)
    while len(kept) > LIMIT:
        kept[:2] = [replace(kept[1], replicas=kept[0].replicas)]
    return tuple(kept)
