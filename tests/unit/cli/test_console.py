import pytest

from unit.cli.stage import Stage, Stream
from workerpool_cli.console import bar, cut, table


def test_without_a_terminal_progress_is_a_line_now_and_then(stage: Stage) -> None:
    console = stage.world().console
    for number in range(25):
        console.progress(f"{number} done", number, 25)
        stage.pause(1)
    assert stage.err.getvalue() == "10 done\n20 done\n"


def test_on_a_terminal_the_bar_gives_way_to_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stage = Stage(err=Stream(tty=True))
    console = stage.world().console
    console.progress("1 of 2", 1, 2)
    console.say("done")
    assert stage.err.getvalue() == f"\r\033[K{'█' * 12}{'░' * 12} 1 of 2\r\033[K"
    assert stage.out.getvalue() == "done\n"


def test_a_terminal_is_drawn_over_and_a_file_never() -> None:
    for tty, expected in ((True, "a\nb\n\033[2F\033[Jc\n"), (False, "a\nb\nc\n")):
        stage = Stage(out=Stream(tty=tty))
        console = stage.world().console
        console.redraw(["a", "b"])
        console.redraw(["c"])
        assert stage.out.getvalue() == expected


def test_colour_is_for_terminals_whose_owner_wants_it() -> None:
    for tty, environ, expected in (
        (True, {}, "\033[1mx\033[0m"),
        (True, {"NO_COLOR": ""}, "x"),
        (True, {"TERM": "dumb"}, "x"),
        (False, {}, "x"),
    ):
        console = Stage(environ=environ, out=Stream(tty=tty)).world().console
        assert console.paint("x", "1") == expected


def test_columns_line_up() -> None:
    assert table([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]


@pytest.mark.parametrize(("done", "full"), [(0, 0), (1, 12), (2, 24), (9, 24)])
def test_a_bar_never_overflows(done: int, full: int) -> None:
    assert bar(done, 2).count("█") == full


def test_a_line_is_cut_by_what_is_seen_of_it() -> None:
    painted = "\033[1mqueue\033[0m  \033[2mredis\033[0m"
    assert cut(painted, 8) == "\033[1mqueue\033[0m  \033[2mr\033[0m"
    assert cut(painted, 12) == painted
