"""Traffic: made, and read."""

import pytest

from workerpool_simulator.trace import GENERATORS, BadTrace, Job, read


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generated_trace_is_ordered_and_the_same_for_the_same_seed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workerpool_simulator.trace.HOUR", 600.0)  # as good as an hour here
    trace = GENERATORS[name](7)
    assert trace == GENERATORS[name](7)
    assert trace != GENERATORS[name](8)
    assert list(trace.jobs) == sorted(trace.jobs, key=lambda job: job.at)
    assert all(job.seconds > 0 for job in trace.jobs)


def test_a_file_is_read_with_or_without_a_header_and_put_in_order() -> None:
    expected = (Job(1.0, 0.5), Job(2.0, 3.0))
    assert read("t", ["arrival,seconds", "2,3", "", "1,0.5"]).jobs == expected
    assert read("t", ["1,0.5", "2,3"]).jobs == expected


@pytest.mark.parametrize("line", ["1", "1,2,3", "a,b", "1,0", "-1,1", "1,inf", "nan,1"])
def test_a_wrong_line_is_named_with_what_it_should_hold(line: str) -> None:
    with pytest.raises(BadTrace, match=r"t, line 2: .* is not arrival,seconds: write"):
        read("t", ["1,1", line])


@pytest.mark.parametrize("line", ["o.5,0.4", "0.5,o.4", "0,5;0,4"])
def test_a_first_line_with_a_typing_error_is_no_header(line: str) -> None:
    with pytest.raises(BadTrace, match=r"t, line 1: .* is not arrival,seconds: write"):
        read("t", [line, "1,1"])


def test_a_field_beyond_what_csv_takes_is_named() -> None:
    with pytest.raises(BadTrace, match=r"t, line 2: field larger .*: write one line arrival"):
        read("t", ["1,1", "1" * 200_000 + ",1"])


def test_a_file_without_jobs_is_refused() -> None:
    with pytest.raises(BadTrace, match="holds no job"):
        read("t", ["arrival,seconds"])


def test_times_of_a_clock_are_told_from_seconds_after_the_begin() -> None:
    with pytest.raises(
        BadTrace, match=r"t lasts 20637 days, more than 31: write the seconds after"
    ):
        read("t", ["1783000000,1", "1783000060,1"])
