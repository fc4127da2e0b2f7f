import pytest

from workerpool_cli.model import Envelope, Letter, Stats, worker_of


def test_an_envelope_keeps_the_producers_bytes() -> None:
    raw = b'{"filename": "a\nb"}\n\xff'
    packed = b"id-1 2 1 1700000000000 Timeout it took longer than 120 s\n" + raw
    assert Envelope.parse(packed) == Envelope(
        "id-1", 2, 1, 1_700_000_000_000, "Timeout", "it took longer than 120 s", raw
    )


def test_a_fresh_envelope_has_no_reason() -> None:
    envelope = Envelope.parse(b"id-1 0 0 17 \n{}")
    assert envelope is not None
    assert (envelope.reason, envelope.sentence) == ("", "")


@pytest.mark.parametrize("packed", [b"", b"\n", b"no line end", b"id x 0 1 \n{}", b"id 1\n{}"])
def test_what_is_no_envelope_is_none(packed: bytes) -> None:
    assert Envelope.parse(packed) is None


def test_a_letter_answers_to_its_own_name_and_the_jobs() -> None:
    envelope = Envelope("w-1", 5, 0, 1, "Timeout", "", b"{}")
    assert Letter("w-9", 2, envelope).names == {"w-9", "w-1"}
    assert Letter("w-9", 2, None).names == {"w-9"}


def test_a_lease_tells_its_worker() -> None:
    assert worker_of("5f0c9a2e11d04b7c-17") == "5f0c9a2e11d04b7c"


def test_no_mean_is_claimed_before_a_job_is_done() -> None:
    assert Stats().mean_job_seconds is None
    assert Stats(done=4, busy_ms=2000).mean_job_seconds == 0.5
