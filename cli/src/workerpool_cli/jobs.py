"""Files, folders, lines and JSON → jobs as they are pushed.

It looks at the local file system for names, never into files; it must not know Redis.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from workerpool_cli.errors import UsageError
from workerpool_cli.naming import fault

MAX_JOB_BYTES = 1 << 20
"""The workers refuse longer ones."""
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """What to make jobs of."""

    paths: Sequence[str]
    jobs: Sequence[str]
    """Whole jobs, as JSON."""
    fields: Mapping[str, Any]
    """Set in every job."""
    root: Path | None
    """The local copy of the workers' input folder."""
    match: str | None
    """In folders, take only files with such names."""
    names: bool
    """Paths are names already: do not look for them here."""


def made(source: Source, stdin: TextIO) -> Iterator[bytes]:
    """Yield the jobs, in the order of the command line."""
    for text in source.jobs:
        yield _packed(_object(text, "--job"), source.fields, "--job")
    for path in source.paths:
        if path == STDIN:
            yield from _lines(stdin, source.fields)
        else:
            for name in _names(path, source):
                yield _packed({"filename": name}, source.fields, repr(path))


def field(text: str) -> tuple[str, Any]:
    """Read `key=value`; a value that is JSON is taken as such, any other as a string."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--set {text!r}: write key=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _lines(stdin: Iterable[str], fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Read names or JSON objects, one a line."""
    for number, line in enumerate(stdin, start=1):
        text, origin = line.strip("\r\n"), f"line {number} of the input"
        if text.lstrip().startswith("{"):
            yield _packed(_object(text, origin), fields, origin)
        elif text:
            yield _packed({"filename": text}, fields, origin)


def _names(path: str, source: Source) -> Iterator[str]:
    if source.names:
        yield path
        return
    here = Path(path)
    if here.is_dir():
        root = source.root or here
        for file in _walk(here):
            if source.match is None or fnmatchcase(file.name, source.match):
                yield _below(file, root)
    elif here.exists():
        yield _below(here, source.root or Path())
    else:
        raise UsageError(
            f"{path!r} is not here; for names of files that only the workers see, add --names"
        )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order; hidden ones and linked folders are left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"the folder {str(folder)!r} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _below(file: Path, root: Path) -> str:
    """Name a file as the workers see it: relative to their input folder."""
    # Not resolved: a linked photo keeps the name it has here.
    inside, outside = Path(os.path.abspath(file)), Path(os.path.abspath(root))  # noqa: PTH100
    try:
        relative = inside.relative_to(outside)
    except ValueError as error:
        raise UsageError(
            f"{str(file)!r} lies outside of {str(outside)!r}: give the folder that is the "
            "workers' input folder with --root"
        ) from error
    return relative.as_posix()


def _object(text: str, origin: str) -> dict[str, Any]:
    try:
        job = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{origin} is not JSON: {error}") from error
    if not isinstance(job, dict):
        raise UsageError(f"{origin} is not a JSON object like " + '{"filename": "a.jpg"}')
    return job


def _packed(job: Mapping[str, Any], fields: Mapping[str, Any], origin: str) -> bytes:
    whole = {**job, **fields}
    if wrong := fault(whole):
        raise UsageError(f"{origin}: {wrong}")
    try:
        raw = json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UsageError("a job holds text that is no Unicode (a lone surrogate)") from error
    if len(raw) > MAX_JOB_BYTES:
        raise UsageError(
            f"a job has {len(raw):,} bytes, and workers refuse more than {MAX_JOB_BYTES:,}: push "
            "names of files, not files"
        )
    return raw
