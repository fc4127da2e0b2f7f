"""Numbers, durations and strange bytes, as people read and write them.

Pure.
"""

import re
from datetime import timedelta

from workerpool_cli.errors import UsageError

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d+[dhms])+")
_PART = re.compile(r"(\d+)([dhms])")
_LONGEST_SECONDS = 100 * 365 * 86_400
_TWO_UNITS = 2  # up to this many of a larger unit, the smaller one says more


def duration(text: str) -> timedelta:
    """Read a duration like 45s, 2h or 1d12h."""
    if not _DURATION.fullmatch(text):
        raise UsageError(f"{text!r} is no duration: write 45s, 30m, 2h, 7d or 1d12h")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST_SECONDS:
        raise UsageError(f"{text!r} is more than a hundred years")
    return timedelta(seconds=seconds)


def age(milliseconds: float) -> str:
    """Write an age as kubectl does: 45s, 12m, 3h, 9d."""
    seconds = max(0, int(milliseconds // 1000))
    for unit in "dhm":
        if seconds >= _TWO_UNITS * _UNITS[unit]:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: 1 job, 1,204 jobs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(raw: bytes, width: int | None = None) -> str:
    """Write bytes so that no terminal takes them for commands, cut to a width."""
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in raw.decode(errors="backslashreplace")
    )
    if width is not None and len(text) > width:
        return text[: max(1, width - 1)] + "…"
    return text
