"""The simulator as a command, and what is said where it is missing."""

from importlib.metadata import EntryPoints
from pathlib import Path

import pytest

from unit.cli.stage import Stage
from workerpool_cli.__main__ import main
from workerpool_cli.commands import simulate


def test_the_simulator_gets_the_command_line_as_it_was_typed(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("1,0.5\n2,0.5\n")

    assert stage.run("simulate", "--output", "table", str(trace), "--start", "1") == 0
    assert capsys.readouterr().out.startswith("mine: 2 jobs")


def test_its_mistakes_are_told_under_the_name_that_was_typed(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["simulate", "nowhere.csv"], stage.world(), "kubectl workerpool")

    assert code == 2
    assert capsys.readouterr().err.startswith("kubectl workerpool simulate: nowhere.csv")


def test_it_explains_itself(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        stage.run("simulate", "--help")

    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "usage: workerpool simulate" in text
    assert "examples:\n  workerpool simulate " in text


def test_where_it_is_not_installed_the_way_to_get_it_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(**_: str) -> EntryPoints:
        return EntryPoints()

    monkeypatch.setattr(simulate, "entry_points", nothing)

    assert stage.run("simulate", "steady") == 1
    assert "pip install 'workerpool[simulate]'" in stage.err.getvalue()


def test_it_is_listed_among_the_commands(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stage.run("--help")

    assert "simulate" in capsys.readouterr().out
