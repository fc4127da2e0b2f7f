import contextlib
import json
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import RejectedJob
from image_worker.job import MAX_PAYLOAD_BYTES, Address, parse, refuse_oversize
from image_worker.presets import Form, Preset, thumbnail

THUMBNAIL = thumbnail(256)


def payload(filename: object) -> bytes:
    return json.dumps({"filename": filename}).encode()


@pytest.mark.parametrize(
    ("filename", "output"),
    [
        ("a.jpg", "a.jpg"),
        ("a.JPG", "a.JPG"),
        ("a.jpeg", "a.jpeg"),
        ("a.png", "a.png.jpg"),
        ("a", "a.jpg"),
        ("2026/11/a.webp", "2026/11/a.webp.jpg"),
        ("./a.jpg", "a.jpg"),
        ("a//b.jpg", "a/b.jpg"),
        ("photo.jpg.bak", "photo.jpg.bak.jpg"),
        ("ärger/日本.jpg", "ärger/日本.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
        (".hidden.jpg", ".hidden.jpg"),
        ("...", "....jpg"),
    ],
)
def test_the_output_is_named_after_the_photo(filename: str, output: str) -> None:
    assert parse(payload(filename)).output(THUMBNAIL) == PurePosixPath(output)


@pytest.mark.parametrize(
    ("filename", "form", "output"),
    [
        ("2026/a.jpg", Form.JPEG, "card/2026/a.jpg"),
        ("a.jpg", Form.WEBP, "card/a.jpg.webp"),
        ("a.webp", Form.WEBP, "card/a.webp"),
        ("a.PNG", Form.PNG, "card/a.PNG"),
        ("a.png", Form.AVIF, "card/a.png.avif"),
    ],
)
def test_a_rendition_lies_in_its_presets_folder(filename: str, form: Form, output: str) -> None:
    preset = Preset("card", 10, 10, form=form)
    assert parse(payload(filename)).output(preset) == PurePosixPath(output)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ()),
        ({"preset": "thumb"}, ("thumb",)),
        ({"presets": ["thumb"]}, ("thumb",)),
        ({"presets": ["large", "thumb", "large"]}, ("large", "thumb")),
    ],
)
def test_a_job_names_presets_each_once(fields: dict[str, object], names: tuple[str]) -> None:
    job = parse(json.dumps({"filename": "a.jpg", **fields}).encode())
    assert job.presets == names


@pytest.mark.parametrize(
    "fields",
    [
        {"preset": None},
        {"preset": 7},
        {"preset": ["thumb"]},
        {"presets": []},
        {"presets": "thumb"},
        {"presets": {"thumb": 1}},
        {"presets": ["thumb", 7]},
        {"preset": "thumb", "presets": ["thumb"]},
    ],
)
def test_presets_that_are_no_names_are_rejected(fields: dict[str, object]) -> None:
    with pytest.raises(RejectedJob) as caught:
        parse(json.dumps({"filename": "a.jpg", **fields}).encode())
    assert caught.value.reason == "BadPreset"


@pytest.mark.parametrize(
    ("output", "form", "expected"),
    [
        ("users/7/avatar", Form.JPEG, "card/users/7/avatar.jpg"),
        ("users/7/avatar.webp", Form.WEBP, "card/users/7/avatar.webp"),
        ("users/7/avatar.webp", Form.AVIF, "card/users/7/avatar.webp.avif"),
    ],
)
def test_a_job_may_say_what_its_outputs_are_named_after(
    output: str, form: Form, expected: str
) -> None:
    job = parse(json.dumps({"filename": "2026/a.jpg", "output": output, "report": True}).encode())
    assert job.source == PurePosixPath("2026/a.jpg")
    assert job.output(Preset("card", 10, 10, form=form)) == PurePosixPath(expected)
    assert job.report_path == PurePosixPath(f"{output}.json")


@pytest.mark.parametrize(
    "output", [None, 7, "", "/etc/cron.d/x", "../x", "a/../../x", "a\0", "x" * 256, "x" * 252]
)
def test_an_output_is_as_safe_as_a_filename(output: object) -> None:
    with pytest.raises(RejectedJob) as caught:
        parse(json.dumps({"filename": "a.jpg", "output": output}).encode())
    assert caught.value.reason == "BadOutput"
    assert "output" in caught.value.sentence


@pytest.mark.parametrize("url", ["http://a.test/b.jpg", "HTTPS://a.test/b.jpg?x=1"])
def test_an_address_is_taken_as_it_is_and_needs_a_name_for_what_is_made(url: str) -> None:
    job = parse(json.dumps({"filename": url, "output": "x/b"}).encode())
    assert job.source == Address(url)
    assert str(job.source) == url
    assert job.output(THUMBNAIL) == PurePosixPath("x/b.jpg")
    with pytest.raises(RejectedJob, match="is to be called") as caught:
        parse(payload(url))
    assert caught.value.reason == "BadOutput"


def test_a_report_lies_beside_the_thumbnail() -> None:
    job = parse(b'{"filename": "2026/a.jpg", "report": true}')
    assert job.report
    assert job.report_path == PurePosixPath("2026/a.jpg.json")
    assert not parse(payload("a.jpg")).report
    with pytest.raises(RejectedJob, match="neither true nor false"):
        parse(b'{"filename": "a.jpg", "report": "yes"}')


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "BadJson"),
        (b"{", "BadJson"),
        (b"\xff\xfe\x00", "BadJson"),
        (b"\x00", "BadJson"),
        (b"[" * 100_000, "BadJson"),
        (b"1" * 10_000, "BadJson"),
        (b'{"filename": "a.jpg"} trailing', "BadJson"),
        (b"null", "BadPayload"),
        (b"[]", "BadPayload"),
        (b'"a.jpg"', "BadPayload"),
        (b"42", "BadPayload"),
        (b"{}", "MissingFilename"),
        (b'{"Filename": "a.jpg"}', "MissingFilename"),
        (payload(None), "BadFilename"),
        (payload(7), "BadFilename"),
        (payload(["a.jpg"]), "BadFilename"),
        (payload(""), "BadFilename"),
        (payload("."), "BadFilename"),
        (payload("/etc/passwd"), "BadFilename"),
        (payload("//etc/passwd"), "BadFilename"),
        (payload(".."), "BadFilename"),
        (payload("../a.jpg"), "BadFilename"),
        (payload("a/../../b.jpg"), "BadFilename"),
        (payload("a/.."), "BadFilename"),
        (payload("a\0.jpg"), "BadFilename"),
        (b'{"filename": "\\ud800.jpg"}', "BadFilename"),
        (payload("x" * 256), "BadFilename"),
        (payload("é" * 128), "BadFilename"),
        (payload("x" * 252), "BadOutput"),
        (payload("/".join("x" * 200 for _ in range(30))), "BadFilename"),
    ],
)
def test_what_is_no_job_is_rejected_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(RejectedJob) as caught:
        parse(raw)
    assert caught.value.reason == reason
    assert caught.value.sentence


def test_unknown_fields_are_the_producers_own_business() -> None:
    assert parse(b'{"filename": "a.jpg", "user": 7}').source == PurePosixPath("a.jpg")


@pytest.mark.parametrize(
    ("pushed_at", "milliseconds"),
    [
        (1_790_000_000.25, 1_790_000_000_250),
        ("2026-11-24T08:00:00Z", 1_795_507_200_000),
        *[(None, None), ("yesterday", None), (1_790_000_000_000, None)],
        *[(10**400, None), (True, None), ([], None)],
    ],
)
def test_a_job_may_say_when_it_was_pushed_and_is_done_whatever_it_says(
    pushed_at: object, milliseconds: int | None
) -> None:
    raw = json.dumps({"filename": "a.jpg", "pushedAt": pushed_at}).encode()
    assert parse(raw).pushed_ms == milliseconds


def test_a_payload_is_refused_by_its_length_alone() -> None:
    refuse_oversize(b" " * MAX_PAYLOAD_BYTES)
    with pytest.raises(RejectedJob, match="push the name of the file, not the file"):
        refuse_oversize(b" " * (MAX_PAYLOAD_BYTES + 1))


@given(st.text() | st.from_regex(r"[./a\\\x00]{0,12}", fullmatch=True))
def test_no_accepted_path_leads_out_of_its_folder(filename: str) -> None:
    try:
        job = parse(json.dumps({"filename": filename, "output": filename}).encode())
    except RejectedJob:
        return
    if not isinstance(job.source, PurePosixPath):
        return  # an address is no path
    for path in (job.source, job.output(THUMBNAIL)):
        assert path.parts
        assert not path.is_absolute()
        assert not {"..", ".", ""} & set(path.parts)
        assert "\0" not in str(path)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_rejection(raw: bytes) -> None:
    with contextlib.suppress(RejectedJob):
        parse(raw)
