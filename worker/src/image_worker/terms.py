"""What a job asks before it is worked on: not before a time, and only once by its id.

Pure.  It knows two fields of the payload; whether they are granted is the queue's to say.
"""

import json

from image_worker import moments, wire
from image_worker.errors import RejectedJob

MAX_ID_BYTES = 256
_MARKS = (b'"id"', b'"notBefore"', b"\\u", b"\0")
"""A payload with none of these asks for nothing; the last two may spell the others (UTF-16)."""


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
    try:
        return moments.milliseconds(value)
    except ValueError as error:
        example = "2026-11-24T08:00:00Z, or seconds since 1970"
        raise RejectedJob("BadNotBefore", f'"notBefore" {error}; write {example}') from error
