"""The command line as scripts see it: exit codes, and words on stderr."""

import pytest

from unit.cli.stage import Stage
from workerpool_cli.__main__ import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push"], "what shall be pushed"),
        (["push", "--names", "a", "--timeout", "5s"], "--timeout is for --wait"),
        (["push", "--names", "/a"], "input folder"),
        (["dead", "requeue"], "--all"),
        (["dead", "requeue", "--limit", "3"], "which ones"),
        (["dead", "drop", "--all"], "--yes"),
        (["dead", "requeue", "--all", "--reason", "Timeout"], "contradict"),
        (["status", "--queue", "a b"], "which Redis"),
    ],
)
def test_a_wrong_command_line_is_explained_and_touches_nothing(
    stage: Stage, words: list[str], said: str
) -> None:
    assert stage.run(*words) == 2
    assert said in stage.err.getvalue()
    assert stage.out.getvalue() == ""


@pytest.mark.parametrize(
    "words",
    [
        ["dead", "list", "--since", "yesterday"],
        ["push", "--set", "x", "a"],
        ["dead", "list", "--limit", "0"],
        ["status", "--watch", "1s", "--over", "2s"],
        ["dead", "list", "--rea", "Timeout"],
        [],
    ],
)
def test_argparse_refuses_with_the_same_code(
    stage: Stage, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        stage.run(*words)
    assert caught.value.code == 2
    assert "usage: workerpool" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["push"], ["status"], ["dead", "requeue"], ["drain"]])
def test_every_command_explains_itself_with_examples(
    stage: Stage, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        stage.run(*command, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "exit codes:" in text


def test_as_a_plugin_it_calls_itself_what_was_typed(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"], stage.world(), "kubectl workerpool")
    assert "usage: kubectl workerpool" in capsys.readouterr().out
    main(["push"], stage.world(), "kubectl workerpool")
    assert stage.err.getvalue().startswith("kubectl workerpool: ")
