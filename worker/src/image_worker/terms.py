"""What a job asks before it is worked on: not before a time, and only once by its id.

Pure.  It knows two fields of the payload; whether they are granted is the queue's to say.
"""

import json
import math
import re
from datetime import datetime

from image_worker import wire
from image_worker.errors import RejectedJob

MAX_ID_BYTES = 256
LATEST_SECONDS = 253_402_300_799  # the end of the year 9999
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MARKS = (b'"id"', b'"notBefore"', b"\\u")
"""A payload with none of these asks for nothing; the last one may spell the others."""


def asked(raw: bytes) -> wire.Asks | None:
    """Return what the payload asks for, if anything; what is no payload is judged elsewhere.

    Raises RejectedJob for a term that nobody can keep.
    """
    if not any(mark in raw for mark in _MARKS):
        return None
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    job_id, not_before = payload.get("id"), payload.get("notBefore")
    if job_id is None and not_before is None:
        return None
    return wire.Asks(
        id=None if job_id is None else _id(job_id),
        not_before_ms=None if not_before is None else _milliseconds(not_before),
    )


def _id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RejectedJob("BadId", '"id" is neither a string nor a whole number')
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise RejectedJob("BadId", '"id" has a lone surrogate') from error
    if not 1 <= size <= MAX_ID_BYTES:
        raise RejectedJob("BadId", f'"id" has {size} bytes; write 1 to {MAX_ID_BYTES}')
    return value


def _milliseconds(value: object) -> int:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            seconds = datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError) as error:
            raise _bad_time(f"is no time: {error}") from error
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        raise _bad_time("is no time")
    if not (math.isfinite(seconds) and 0 <= seconds <= LATEST_SECONDS):
        raise _bad_time("is not between 1970 and 9999")
    return math.ceil(seconds * 1000)


def _bad_time(what: str) -> RejectedJob:
    example = "2026-11-24T08:00:00Z, or seconds since 1970"
    return RejectedJob("BadNotBefore", f'"notBefore" {what}; write {example}')
