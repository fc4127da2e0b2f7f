"""The command: what it prints, and what it says of wrong input."""

import json
from pathlib import Path

import pytest
import yaml

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


@pytest.fixture
def few_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have advice try a few targets: which it tries is `test_replay`'s to see."""
    monkeypatch.setattr("workerpool_simulator.advice.DRAINS", (5, 30, 120))
    monkeypatch.setattr("workerpool_simulator.advice.WINDOWS", (0, 60))


def test_a_trace_and_a_pool_of_ones_own_are_compared(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    assert main([str(trace), "--pool", str(pool), "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["mine"]
    assert set(rows) == {"workerpool", "keda", "keda-tuned", "knative-kpa"}
    assert rows["workerpool"]["p95_wait"] < rows["keda"]["p95_wait"]


def test_the_first_job_of_a_file_with_a_byte_order_mark_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf1,0.5\r\n2,0.5\r\n")

    assert main([str(path)]) == 0
    assert capsys.readouterr().out.startswith("excel: 2 jobs,")


def test_a_table_is_printed(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trace)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine: 100 jobs, 0.01 hours of work\npolicy ")


@pytest.mark.usefixtures("few_choices")
def test_advice_is_a_piece_of_spec(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trace), "--advise", "30"]) == 0
    advice = yaml.safe_load(capsys.readouterr().out)["spec"]
    assert set(advice) == {"target", "scaleDown"}
    assert advice["target"].keys() == {"drainSeconds"}


@pytest.mark.usefixtures("few_choices")
def test_advice_keeps_what_else_the_pool_says(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pods of an hour from 08:00 on are there in the morning, and none is in the evening."""
    pool = tmp_path / "pool.yaml"
    office = "schedules: [{cron: 0 8 * * *, durationMinutes: 60, minReplicas: 15}]"
    text = POOL.replace("drainSeconds: 5", "backlogPerReplica: 10, maxWaitSeconds: 9")
    pool.write_text(f"{text.replace('maxReplicas: 3', 'maxReplicas: 30')}  {office}\n")
    options = [str(trace), "--pool", str(pool), "--advise", "1.5"]

    assert main([*options, "--begins", "2026-03-02T08:00"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["target"]["maxWaitSeconds"] == 9
    assert main([*options, "--begins", "2026-03-02T20:00"]) == 1


def test_pods_of_several_cores_work_on_as_many_jobs(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job of 0.5 s, 20 a second: ten workers, which are three pods of four cores."""
    pool = tmp_path / "pool.yaml"

    def p95_wait(spec: str) -> float:
        pool.write_text(POOL + spec)
        assert main([str(trace), "--pool", str(pool), "--output", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)["mine"]
        return float(rows["workerpool"]["p95_wait"])

    assert p95_wait("  cpu: {cores: 4}\n") < p95_wait("") / 2


def test_a_promise_nobody_can_keep_is_said_so(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trace), "--advise", "0.01"]) == 1
    assert "raise maxReplicas or minReplicas" in capsys.readouterr().out


def test_a_pool_that_is_paused_is_not_praised(
    trace: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workerpool_simulator.replay.PATIENCE_SECONDS", 600.0)
    pool = tmp_path / "pool.yaml"
    pool.write_text(f"{POOL}  paused: true\n")
    options = [str(trace), "--pool", str(pool)]

    assert main([*options, "--output", "json"]) == 0
    paused = json.loads(capsys.readouterr().out)["mine"]["workerpool"]
    assert (paused["done_jobs"], paused["jobs"]) == (0, 100)
    assert paused["p50_wait"] > 600

    assert main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("done")
    assert [line.split()[-1] for line in lines[2:6]] == ["0/100", *["100/100"] * 3]

    assert main([*options, "--advise", "20"]) == 1
    assert capsys.readouterr().out == (
        "# mine: nothing to advise: 100 of 100 jobs are left undone: paused: true starts no "
        "pod for them: take it out of the pool\n"
    )


@pytest.mark.usefixtures("few_choices")
def test_a_pool_that_is_a_dry_run_does_what_it_would_and_says_so(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(f"{POOL}  dryRun: true\n")

    assert main([str(trace), "--pool", str(pool), "--advise", "30"]) == 0
    captured = capsys.readouterr()
    assert "spec:" in captured.out
    assert "dryRun: true is not looked at" in captured.err


def test_a_picture_is_drawn(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "pictures"
    assert main([str(trace), "--picture", str(folder)]) == 0
    assert (folder / "mine.png").read_bytes().startswith(b"\x89PNG")


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


@pytest.mark.parametrize("option", ["--start", "--target", "--advise"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_number_that_is_none_is_named(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["steady", f"{option}={value}"])

    assert caught.value.code == 2
    assert f"'{value}' is no number above 0" in capsys.readouterr().err


def test_a_begin_that_is_no_time_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["steady", "--begins", "noon"])

    assert caught.value.code == 2
    assert "'noon' is no time such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv"], "neither a file nor one of steady"),
        (["heavy-tail", "--pool", "nowhere.yaml"], "nowhere.yaml"),
        (["{folder}/binary"], "binary is no text: write one line arrival,seconds for each job"),
        (["{folder}/clock"], "clock lasts 20637 days"),
        (["{folder}"], "Is a directory"),
        (["heavy-tail", "--pool", "{folder}/list.yaml"], "list.yaml holds no WorkerPool"),
        (["heavy-tail", "--pool", "{folder}/empty.yaml"], "empty.yaml: spec must be a mapping"),
        (["{folder}/a/jobs.csv", "{folder}/b/jobs.csv"], "two traces are called jobs"),
        (["heavy-tail", "heavy-tail"], "two traces are called heavy-tail"),
        (["heavy-tail", "--picture", "{folder}/clock"], "File exists"),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "clock").write_text("1783000000,1")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "empty.yaml").write_text("kind: WorkerPool")

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "jobs.csv").write_text("1,1")

    assert main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    assert words in capsys.readouterr().err
