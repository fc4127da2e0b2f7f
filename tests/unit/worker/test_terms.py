import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker import job, terms, wire
from image_worker.errors import RejectedJob


def asked(**fields: object) -> wire.Asks | None:
    return terms.asked(json.dumps({"filename": "a.jpg", **fields}).encode())


def test_a_job_that_asks_for_nothing_is_not_looked_into() -> None:
    assert asked() is None
    assert asked(preset="web", identity=1, notbefore=2) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_what_is_asked_is_read_in_every_encoding_that_the_job_is(encoding: str) -> None:
    raw = '{"filename": "a.jpg", "id": "7", "notBefore": 1}'.encode(encoding)
    assert job.parse(raw).name.name == "a.jpg"
    assert terms.asked(raw) == wire.Asks("7", 1000)


def test_a_null_asks_for_nothing() -> None:
    assert asked(id=None, notBefore=None) is None


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0, 0),
        (1_790_000_000, 1_790_000_000_000),
        (1_790_000_000.0005, 1_790_000_000_001),
        ("2026-11-24T08:00:00Z", 1_795_507_200_000),
        ("2026-11-24T08:00:00.250z", 1_795_507_200_250),
        ("2026-11-24 10:00:00+02:00", 1_795_507_200_000),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_time_is_seconds_or_rfc_3339(value: object, milliseconds: int) -> None:
    assert asked(notBefore=value) == wire.Asks(None, milliseconds)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "tomorrow",
            "",
            "2026-11-24",
            "2026-11-24T08:00:00",
            "2026-13-24T08:00:00Z",
            "20261124T08Z",
        ),
        *("2026-11-24T08:00:00+99:00", -1, 1e300, float("nan"), float("inf"), True, [], {}),
        *("٢٠٢٦-11-24T08:00:00Z", 10**400, -(10**400)),
    ],
)
def test_what_is_no_time_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(RejectedJob, match="2026-11-24T08:00:00Z") as caught:
        asked(notBefore=value)
    assert caught.value.reason == "BadNotBefore"


@pytest.mark.parametrize(("value", "job_id"), [("a", "a"), ("x" * 256, "x" * 256), (17, "17")])
def test_an_id_is_a_short_string_or_a_whole_number(value: object, job_id: str) -> None:
    assert asked(id=value) == wire.Asks(job_id, None)


@pytest.mark.parametrize("value", ["", "x" * 257, "é" * 129, 1.5, True, [], {}, "\ud800"])
def test_another_id_is_refused(value: object) -> None:
    with pytest.raises(RejectedJob) as caught:
        asked(id=value)
    assert caught.value.reason == "BadId"


def test_an_escaped_name_is_the_same_name() -> None:
    assert terms.asked(rb'{"\u0069d": "a"}') == wire.Asks("a", None)


@pytest.mark.parametrize(
    "raw", [b'"id"', b'["id"]', b'{"id": ', b'\xff"id"', b"[" * 9_999 + b'"id"']
)
def test_what_is_no_payload_is_judged_elsewhere(raw: bytes) -> None:
    assert terms.asked(raw) is None


@given(st.binary() | st.text().map(str.encode) | st.integers().map(lambda n: str(n).encode()))
def test_nothing_breaks_it(raw: bytes) -> None:
    for payload in (raw, b'{"id":' + raw + b"}", b'{"notBefore":' + raw + b"}"):
        with contextlib.suppress(RejectedJob):
            terms.asked(payload)
