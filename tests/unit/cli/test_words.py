from datetime import timedelta

import pytest

from workerpool_cli.errors import UsageError
from workerpool_cli.words import age, count, duration, printable


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("2h", 7200), ("1d12h", 129_600)]
)
def test_durations_are_written_as_people_write_them(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "2.5h", "99999999999d"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"45s|hundred years"):
        duration(text)


@pytest.mark.parametrize(
    ("ms", "expected"),
    [(-5, "0s"), (999, "0s"), (119_000, "119s"), (120_000, "2m"), (7_200_000, "2h"), (2e8, "2d")],
)
def test_ages_read_like_those_of_kubectl(ms: float, expected: str) -> None:
    assert age(ms) == expected


def test_one_job_is_not_jobs() -> None:
    assert [count(n, "job") for n in (0, 1, 1204)] == ["0 jobs", "1 job", "1,204 jobs"]


def test_hostile_bytes_never_reach_the_terminal_as_commands() -> None:
    assert printable(b'{"a": "\x1b[2J\n\xff"}') == '{"a": "\\x1b[2J\\n\\xff"}'


def test_long_jobs_are_cut_to_the_width() -> None:
    assert printable(b"x" * 100, 10) == "x" * 9 + "…"
