from io import StringIO

import pytest

from demo.terminal import Terminal, duration


class Tty(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (99.4, "99 s"), (187.2, "3 min 07 s")],
)
def test_durations_read_as_people_say_them(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_without_a_terminal_nothing_is_ever_overwritten() -> None:
    out = StringIO()
    terminal = Terminal(out)
    terminal.redraw(["one", "two"])
    terminal.line(terminal.paint("three", "31"))
    assert out.getvalue() == "three\n"


def test_a_block_is_drawn_over_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Tty()
    terminal = Terminal(out)
    terminal.redraw(["one", "two"])
    terminal.redraw(["three"])
    assert out.getvalue() == "one\033[K\ntwo\033[K\n\033[J\033[2Fthree\033[K\n\033[J"


def test_a_kept_block_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Tty()
    terminal = Terminal(out)
    terminal.redraw(["one"])
    terminal.keep()
    terminal.redraw(["two"])
    assert out.getvalue() == "one\033[K\n\033[Jtwo\033[K\n\033[J"


def test_people_who_want_no_colour_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal(Tty()).paint("text", "31") == "text"
