"""What a job calls its photo and its output, as every image worker will judge it.

Pure.  A unit test holds this and the worker's own judgement together.  It knows these two fields
alone: others belong to the workers' presets, and a job without them may be for other workers.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4000
JPEG_SUFFIXES = (".jpg", ".jpeg")
ADDRESS_STARTS = ("http://", "https://")
SHOWN = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_TOO_LONG = (
    f"it is too long: a name has {MAX_NAME_BYTES} bytes at most, with its folders "
    f"{MAX_PATH_BYTES}; shorten it"
)


def fault(job: Mapping[str, object]) -> str | None:
    """Say why every worker would bury this job, and what to write instead; None if none would."""
    if "filename" not in job:
        return _fault("output", job["output"]) if "output" in job else None
    name = job["filename"]
    is_address = isinstance(name, str) and name[:8].lower().startswith(ADDRESS_STARTS)
    if not is_address and (wrong := _fault("filename", name)):
        return wrong
    if "output" in job:
        name = job["output"]
        if wrong := _fault("output", name):
            return wrong
    elif is_address:
        return (
            "what is made of an address has no name of its own: add "
            '"output", a name below the workers\' output folder (--set output=a.jpg)'
        )
    if not job.keys() & {"preset", "presets"}:
        return _room(PurePosixPath(str(name)).name)
    return None


def _fault(field: str, value: object) -> str | None:
    folder = "input" if field == "filename" else "output"
    remedy = f"write it relative to the workers' {folder} folder, like 2026/a.jpg"
    shown = f"{value!r}" if len(f"{value!r}") <= SHOWN else f"{value!r:.{SHOWN}}…"
    if not isinstance(value, str):
        return f'"{field}" {shown}: it is no string; {remedy}'
    path = PurePosixPath(value)
    whole, *parts = (len(name.encode(errors="replace")) for name in (value, *path.parts))
    faults = (
        (_SURROGATE.search(value), "it is not UTF-8, and JSON is: rename the file"),
        ("\0" in value, f"it has a NUL character; {remedy}"),
        (path.is_absolute(), f"it is absolute; {remedy}"),
        (".." in path.parts, f'it leads upwards; {remedy}, without ".."'),
        (not parts, f"it names no file; {remedy}"),
        (whole > MAX_PATH_BYTES or max(parts, default=0) > MAX_NAME_BYTES, _TOO_LONG),
    )
    words = next((words for is_so, words in faults if is_so), None)
    return words and f'"{field}" {shown}: {words}'


def _room(name: str) -> str | None:
    """Refuse a name to which the suffix of what is made cannot be added."""
    suffix = JPEG_SUFFIXES[0]
    if PurePosixPath(name).suffix.lower() in JPEG_SUFFIXES:
        return None
    if len(name.encode()) + len(suffix) <= MAX_NAME_BYTES:
        return None
    return (
        f"the thumbnail is called like its photo, with {suffix} behind it, and a name has "
        f'{MAX_NAME_BYTES} bytes at most: give a shorter one with "output"'
    )
