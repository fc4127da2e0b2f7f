import pytest

from demo.view import Snapshot, bar, plain, render, sparkline

EARLY = Snapshot(0.1, waiting=300, busy=0, replicas=0, ready=0, done=0)
LATER = Snapshot(
    9.0, waiting=120, busy=6, replicas=10, ready=6, done=174, message="Backlog: 120 waiting"
)


def bare(text: str, _colour: str) -> str:
    return text


def test_the_view_tells_every_figure() -> None:
    lines = render([EARLY, LATER], total=300, most=10, width=80, paint=bare)
    words = {line.split()[0]: line for line in reversed(lines) if line.strip()}
    assert words["waiting"].endswith(" 120")
    assert words["busy"].endswith(" 6")
    assert words["replicas"].endswith(" 10  (6 ready)")
    assert words["done"].endswith(" 174 of 300")
    assert lines[-1].strip() == "Backlog: 120 waiting"


def test_what_is_not_known_yet_is_a_dash_and_never_a_zero() -> None:
    lines = render([Snapshot(0.0)], total=300, most=10, width=80, paint=bare)
    assert [line.split()[1] for line in lines[:3]] == ["-", "-", "-"]
    assert "waiting    -  busy   -" in plain(Snapshot(0.0), 300)


def test_dead_jobs_are_only_spoken_of_when_there_are_some() -> None:
    assert "dead" not in plain(LATER, 300)
    assert plain(Snapshot(1.0, dead=2), 300).endswith("dead 2")


@pytest.mark.parametrize("width", [40, 80, 99])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    crowded = Snapshot(3599.9, 10**6, 10**4, 10**4, 10**4, 10**6, 0, "word " * 60)
    for line in render([EARLY, LATER, crowded] * 90, 300, 10, width, bare):
        assert len(line) <= width


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "    "), (1, "▏   "), (200, "██  "), (250, "██▌ "), (400, "████"), (9999, "████")],
)
def test_a_bar_has_eighths_and_shows_a_single_job(value: int, expected: str) -> None:
    assert bar(value, 400, 4) == expected


def test_a_sparkline_keeps_the_peaks_when_it_is_squeezed() -> None:
    assert sparkline([0, 0, 8, 0, 4, 0], 8, 3) == " █▄"
    assert sparkline([None, 8], 8, 4) == " █  "


def test_a_bar_of_nothing_at_all_is_empty() -> None:
    assert bar(0, 0, 3) == sparkline([0], 0, 3) == "   "
