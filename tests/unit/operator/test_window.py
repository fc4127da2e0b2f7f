"""Extremes of a sliding window, in few samples."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from workerpool_operator.model import Sample, Samples
from workerpool_operator.window import LIMIT, add_high, add_low, extreme

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
readings = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2_000)), min_size=1, max_size=200)
periods = st.integers(1, 3_600).map(lambda count: timedelta(seconds=count))


@given(readings, periods)
def test_a_window_is_bounded_and_never_forgets_an_extreme_too_early(
    readings: list[tuple[int, int]], period: timedelta
) -> None:
    at, seen = NOW, list[Sample]()
    highs: Samples = ()
    lows: Samples = ()
    for pause, count in readings:
        at += timedelta(seconds=pause)
        sample = Sample(at, count)
        seen.append(sample)
        highs = add_high(highs, sample, at - period)
        lows = add_low(lows, sample, at - period)

        within = [s.replicas for s in seen if s.at > at - period]
        assert extreme(highs) >= max(within)
        assert extreme(lows) <= min(within)
        assert max(len(highs), len(lows)) <= LIMIT
        if len(seen) <= LIMIT:  # nothing was merged yet
            assert (extreme(highs), extreme(lows)) == (max(within), min(within))
