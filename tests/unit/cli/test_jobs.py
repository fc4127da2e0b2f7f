import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import RejectedJob
from image_worker.job import parse as worker_parse
from workerpool_cli.errors import UsageError
from workerpool_cli.jobs import MAX_JOB_BYTES, Source, field, made
from workerpool_cli.naming import fault


def jobs(*paths: str | Path, stdin: str = "", **options: object) -> list[dict[str, object]]:
    nothing = Source(paths=[], jobs=[], fields={}, root=None, match=None, names=False)
    source = replace(nothing, paths=[str(path) for path in paths], **options)  # type: ignore[arg-type]
    return [json.loads(raw) for raw in made(source, StringIO(stdin))]


def names(*paths: str | Path, **options: object) -> list[object]:
    return [job["filename"] for job in jobs(*paths, **options)]  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.jpg", "2026/05/c.png", ".hidden/d.jpg", ".e.jpg", "grüße.jpg"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    return tmp_path / "photos"


def test_a_folder_stands_for_all_visible_files_below_it_in_order(photos: Path) -> None:
    assert names(photos) == ["2026/05/c.png", "a.jpg", "b.jpg", "grüße.jpg"]


def test_names_are_relative_to_the_root(photos: Path) -> None:
    assert names(photos / "2026", root=photos) == ["2026/05/c.png"]


def test_a_file_is_named_relative_to_the_current_folder(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert names("2026/../a.jpg", photos / "b.jpg") == ["a.jpg", "b.jpg"]


def test_a_linked_photo_keeps_its_name(photos: Path) -> None:
    (photos / "z.jpg").symlink_to("/etc/hostname")
    assert names(photos, match="z*") == ["z.jpg"]


def test_a_pattern_picks_files_of_a_folder(photos: Path) -> None:
    assert names(photos, match="*.png") == ["2026/05/c.png"]


def test_a_file_outside_of_the_root_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="--root"):
        names(photos / "a.jpg", root=photos / "2026")


def test_a_file_that_is_not_here_is_a_typing_mistake_unless_it_is_a_name() -> None:
    with pytest.raises(UsageError, match="--names"):
        names("nowhere.jpg")
    assert names("nowhere.jpg", names=True) == ["nowhere.jpg"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.jpg", "a/../../b", ".", "a\0b"])
def test_names_that_every_worker_would_bury_are_not_pushed(name: str) -> None:
    with pytest.raises(UsageError, match="input folder"):
        names(name, names=True)
    with pytest.raises(UsageError, match=r'^--job: "filename" .* input folder'):
        jobs(jobs=[json.dumps({"filename": name})])
    with pytest.raises(UsageError, match=r'^line 2 of the input: "output" .* output folder'):
        jobs("-", stdin=f"a.jpg\n{json.dumps({'filename': 'a.jpg', 'output': name})}\n")
    with pytest.raises(UsageError, match="output folder"):
        names("a.jpg", names=True, fields={"output": name})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (7, "no string"),
        (None, "no string"),
        ("", "names no file"),
        ("a" * 256, "255 bytes at most"),
        ("a" * 252, 'shorter one with "output"'),
        ("a/" * 2000 + "a", "4000"),
        ("https://example.org/a.jpg", "--set output="),
    ],
)
def test_a_job_is_told_what_is_wrong_with_its_name(name: object, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        jobs(jobs=[json.dumps({"filename": name})])
    assert len(str(caught.value)) < 300


values = (
    st.text(alphabet="a./\0\ud800é", max_size=6)
    | st.sampled_from(
        ["http://a/b.jpg", "HTTPS://b", "ftp://a", "/a", "a.JPG", None, 3, True, ["a"]]
    )
    | st.sampled_from([125, 126, 127, 249, 250, 251, 252, 254, 255, 256, 4001]).flatmap(
        lambda size: st.sampled_from(
            ["a" * size, "é" * (size // 2), "a" * (size - 4) + ".jpg", "a/" * (size // 2) + "b"]
        )
    )
)


@given(
    st.fixed_dictionaries({"filename": values}, optional={"output": values}),
    st.sampled_from([{}, {"preset": "web"}, {"presets": ["a", "b"]}]),
)
def test_the_tool_refuses_the_names_that_the_worker_refuses(
    named: dict[str, object], presets: dict[str, object]
) -> None:
    whole = {**named, **presets}
    try:
        worker_parse(json.dumps(whole).encode())
    except RejectedJob:
        assert fault(whole) is not None
    else:
        assert fault(whole) is None


def test_a_job_for_other_workers_needs_no_names() -> None:
    assert jobs(jobs=['{"page": "a.html"}']) == [{"page": "a.html"}]


def test_a_name_that_is_not_utf_8_is_refused(photos: Path) -> None:
    (photos / "2026" / "\udcff.jpg").touch()
    with pytest.raises(UsageError, match="not UTF-8"):
        names(photos)


def test_the_input_holds_names_and_jobs() -> None:
    stdin = 'a.jpg\n\n  {"filename": "b.jpg", "preset": "web"}\r\nc d.jpg\n'
    assert jobs("-", stdin=stdin) == [
        {"filename": "a.jpg"},
        {"filename": "b.jpg", "preset": "web"},
        {"filename": "c d.jpg"},
    ]


@pytest.mark.parametrize("line", ["{", "{}}", '{"a": 1'])
def test_a_broken_line_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        jobs("-", stdin=f"a.jpg\n{line}\n")


def test_set_fields_are_in_every_job() -> None:
    made_jobs = jobs("a", names=True, jobs=['{"id": 7}'], fields={"preset": "web"})
    assert made_jobs == [{"id": 7, "preset": "web"}, {"filename": "a", "preset": "web"}]


@pytest.mark.parametrize(
    ("text", "value"),
    [("k=v", "v"), ("k=3", 3), ('k="3"', "3"), ("k=true", True), ("k=", ""), ("k=a=b", "a=b")],
)
def test_a_value_that_is_json_is_taken_as_json(text: str, value: object) -> None:
    assert field(text) == ("k", value)


@pytest.mark.parametrize("text", ["k", "=v"])
def test_a_field_needs_a_name_and_a_value(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        field(text)


def test_files_themselves_are_not_to_be_pushed() -> None:
    with pytest.raises(UsageError, match="names of files"):
        jobs(jobs=[json.dumps({"data": "x" * MAX_JOB_BYTES})])
