"""What a job says: bytes as the producer wrote them → a Job, or RejectedJob with the remedy.

Pure.  It knows the payload's format and what a safe relative path looks like; it must not
know Redis, files or images.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from image_worker.errors import RejectedJob

MAX_PAYLOAD_BYTES = 1 << 20
MAX_NAME_BYTES = 255  # NAME_MAX of every Linux file system
MAX_PATH_BYTES = 4000  # PATH_MAX less room for what is put around it
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class Job:
    """A photo to make a thumbnail of; both paths are relative, and safe to join to a root."""

    source: PurePosixPath
    output: PurePosixPath


def refuse_oversize(raw: bytes) -> None:
    """Refuse a payload by its length, before any child is troubled with it."""
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise RejectedJob(
            "PayloadTooLarge",
            f"the payload has {len(raw)} bytes; {MAX_PAYLOAD_BYTES} are the most: "
            "push the name of the file, not the file",
        )


def parse(raw: bytes) -> Job:
    """Read a payload; unknown fields are the producer's own business."""
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RejectedJob("BadJson", f"the payload is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise RejectedJob("BadPayload", 'the payload is not an object; push {"filename": "a.jpg"}')
    if "filename" not in payload:
        raise RejectedJob(
            "MissingFilename", 'the payload has no "filename"; push {"filename": "a.jpg"}'
        )
    source = relative_path(payload["filename"])
    return Job(source=source, output=_output_for(source))


def relative_path(value: object) -> PurePosixPath:
    """Accept a path that stays below whatever folder it is joined to, textually."""
    if not isinstance(value, str):
        raise _bad(f"is not a string but {type(value).__name__}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise _bad("has a lone surrogate, which no file name can have") from error
    if "\0" in value:
        raise _bad("has a NUL character")
    path = PurePosixPath(value)
    if path.is_absolute():
        raise _bad("is absolute; write it relative to the input folder")
    if ".." in path.parts:
        raise _bad('leads upwards with ".."; write it relative to the input folder')
    if not path.parts:
        raise _bad("is empty")
    if len(encoded) > MAX_PATH_BYTES:
        raise _bad(f"has {len(encoded)} bytes; {MAX_PATH_BYTES} are the most")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        raise _bad(f"has a part of more than {MAX_NAME_BYTES} bytes")
    return path


def _output_for(source: PurePosixPath) -> PurePosixPath:
    if source.suffix.lower() in JPEG_SUFFIXES:
        return source
    output = source.with_name(f"{source.name}.jpg")
    if len(output.name.encode()) > MAX_NAME_BYTES:
        raise _bad(f"leaves no room for .jpg within {MAX_NAME_BYTES} bytes")
    return output


def _bad(what: str) -> RejectedJob:
    return RejectedJob("BadFilename", f'"filename" {what}')
