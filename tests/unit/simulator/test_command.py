"""The command: what it prints, and what it says of wrong input."""

import json
from pathlib import Path

import pytest

from workerpool_simulator.__main__ import main

POOL = """
apiVersion: workerpool.dev/v1alpha1
kind: WorkerPool
metadata: {name: images}
spec:
  queue: {list: "queue:images", redis: {url: "redis://redis:6379/0"}}
  maxReplicas: 3
  target: {drainSeconds: 5}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(f"{10 + n // 20},0.5" for n in range(100)))
    return path


def test_a_trace_and_a_pool_of_ones_own_are_compared(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    assert main([str(trace), "--pool", str(pool), "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["mine"]
    assert set(rows) == {"workerpool", "keda", "keda-tuned", "knative-kpa"}
    assert rows["workerpool"]["p95_wait"] < rows["keda"]["p95_wait"]


def test_a_table_is_printed(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trace)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine: 100 jobs, 0.01 hours of work\npolicy ")


def test_advice_is_a_piece_of_spec(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trace), "--advise", "30"]) == 0
    assert "spec:\n  target: {drainSeconds: " in capsys.readouterr().out


def test_a_promise_nobody_can_keep_is_said_so(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trace), "--advise", "0.01"]) == 1
    assert "raise maxReplicas or minReplicas" in capsys.readouterr().out


def test_a_picture_is_drawn(trace: Path, tmp_path: Path) -> None:
    assert main([str(trace), "--picture", str(tmp_path)]) == 0
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_schedules_follow_the_time_at_which_the_trace_begins(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three pods are there from 08:00 on; the jobs come from ten seconds after the begin."""
    office = "schedules: [{cron: 0 8 * * MON-FRI, timeZone: Europe/Berlin, durationMinutes: 1"
    pool = tmp_path / "pool.yaml"
    pool.write_text(f"{POOL}  {office}, minReplicas: 3}}]\n")

    def most_waited(begins: str) -> float:
        options = ["--pool", str(pool), "--begins", begins, "--output", "json"]
        assert main([str(trace), *options]) == 0
        rows = json.loads(capsys.readouterr().out)["mine"]
        return float(rows["workerpool"]["p50_wait"])

    assert most_waited("2026-03-02T08:00+01:00") < most_waited("2026-03-02T09:00+01:00")


def test_a_picture_without_matplotlib_is_refused_before_anything_is_replayed(
    trace: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_: str) -> None:
        return None

    monkeypatch.setattr("workerpool_simulator.__main__.find_spec", missing)

    assert main([str(trace), "--picture", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "pip install 'workerpool-simulator[picture]'" in captured.err
    assert captured.out == ""


def test_a_begin_that_is_no_time_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["steady", "--begins", "noon"])

    assert caught.value.code == 2
    assert "'noon' is no time such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv"], "neither a file nor one of steady"),
        (["steady", "--pool", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
