"""What a job says: bytes as the producer wrote them → a Job, or RejectedJob with the remedy.

Pure.  It knows the payload's format, what a safe relative path looks like, and what outputs are
called; it must not know Redis, files or images.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from image_worker import moments
from image_worker.errors import RejectedJob
from image_worker.presets import Form, Preset
from image_worker.records import record

MAX_PAYLOAD_BYTES = 1 << 20
MAX_NAME_BYTES = 255  # NAME_MAX of every Linux file system
MAX_PATH_BYTES = 4000  # PATH_MAX less room for what is put around it
# A file already named so keeps its name; else the first of them is added.
SUFFIXES = {
    Form.JPEG: (".jpg", ".jpeg"),
    Form.PNG: (".png",),
    Form.WEBP: (".webp",),
    Form.AVIF: (".avif",),
}
ADDRESS_STARTS = ("http://", "https://")
REPORT_SUFFIX = ".json"
FOLDERS = {"filename": "input", "output": "output"}
"""Which folder the path in a field of the payload is relative to."""


@dataclass(frozen=True, slots=True)
class Address:
    """A photo on another host; nothing of it has been checked."""

    url: str

    def __str__(self) -> str:
        return self.url


@record
class Job:
    """A photo to make renditions of; its paths are relative, and safe to join to a root."""

    source: PurePosixPath | Address
    name: PurePosixPath
    """What renditions and report are named after: the photo, unless the job says otherwise."""
    presets: tuple[str, ...] = ()
    """Names, each once; none stands for the thumbnail."""
    report: bool = False
    """Whether to write down beside the renditions what was made."""
    pushed_ms: int | None = None
    """When it was pushed, if its producer says so."""

    @property
    def report_path(self) -> PurePosixPath:
        """Say where the report belongs."""
        return _named(self.name, (REPORT_SUFFIX,))

    def output(self, preset: Preset) -> PurePosixPath:
        """Say where a rendition belongs: below its preset's folder; the thumbnail has none."""
        return PurePosixPath(preset.name) / _named(self.name, SUFFIXES[preset.form])


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
    source = _source(payload["filename"])
    if "output" in payload:
        name = relative_path(payload["output"], "output")
    elif isinstance(source, Address):
        raise RejectedJob(
            "BadOutput", 'say with "output" what is made of an address is to be called'
        )
    else:
        name = source
    report = payload.get("report", False)
    if not isinstance(report, bool):
        raise RejectedJob("BadPayload", '"report" is neither true nor false')
    job = Job(
        source=source,
        name=name,
        presets=_presets(payload),
        report=report,
        pushed_ms=_pushed(payload.get("pushedAt")),
    )
    if not job.presets:
        _named(name, SUFFIXES[Form.JPEG])  # leaves room for what is certainly made
    return job


def relative_path(value: object, field: str) -> PurePosixPath:
    """Accept a path that stays below whatever folder it is joined to, textually."""
    if not isinstance(value, str):
        raise _bad(field, f"is not a string but {type(value).__name__}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise _bad(field, "has a lone surrogate, which no file name can have") from error
    if "\0" in value:
        raise _bad(field, "has a NUL character")
    path = PurePosixPath(value)
    if path.is_absolute():
        raise _bad(field, f"is absolute; write it relative to the {FOLDERS[field]} folder")
    if ".." in path.parts:
        raise _bad(
            field, f'leads upwards with ".."; write it relative to the {FOLDERS[field]} folder'
        )
    if not path.parts:
        raise _bad(field, "is empty")
    if len(encoded) > MAX_PATH_BYTES:
        raise _bad(field, f"has {len(encoded)} bytes; {MAX_PATH_BYTES} are the most")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        raise _bad(field, f"has a part of more than {MAX_NAME_BYTES} bytes")
    return path


def _pushed(value: object) -> int | None:
    """Read when a job was pushed; a photo is worth more than a figure, so nothing is refused."""
    try:
        return moments.milliseconds(value)
    except ValueError:
        return None


def _source(value: object) -> PurePosixPath | Address:
    if isinstance(value, str) and value[:8].lower().startswith(ADDRESS_STARTS):
        return Address(value)
    return relative_path(value, "filename")


def _presets(payload: dict[str, object]) -> tuple[str, ...]:
    if "preset" in payload and "presets" in payload:
        raise RejectedJob("BadPreset", 'the payload has both "preset" and "presets"; push one')
    names = [payload["preset"]] if "preset" in payload else payload.get("presets", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RejectedJob("BadPreset", 'push {"preset": "name"} or {"presets": ["name", "other"]}')
    if not names and "presets" in payload:
        raise RejectedJob("BadPreset", '"presets" is empty; leave it out for the thumbnail')
    return tuple(dict.fromkeys(names))


def _named(name: PurePosixPath, suffixes: tuple[str, ...]) -> PurePosixPath:
    if name.suffix.lower() in suffixes:
        return name
    output = name.with_name(f"{name.name}{suffixes[0]}")
    if len(output.name.encode()) > MAX_NAME_BYTES:
        raise RejectedJob(
            "BadOutput",
            f"the name of the output leaves no room for {suffixes[0]} "
            f"within {MAX_NAME_BYTES} bytes",
        )
    return output


def _bad(field: str, what: str) -> RejectedJob:
    return RejectedJob("BadFilename" if field == "filename" else "BadOutput", f'"{field}" {what}')
