"""How dead letters look: a table, all of one, a document.

Pure.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from workerpool_cli.console import table
from workerpool_cli.model import Letter
from workerpool_cli.words import age, printable

SENTENCE_CHARACTERS = 48
JOB_CHARACTERS = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows(letters: Sequence[Letter], now_ms: int) -> list[str]:
    """Draw a table."""
    if not letters:
        return []
    cells = [("ID", "DIED", "REASON", "ATTEMPTS", "CRASHES", "WHY", "JOB")]
    for letter in letters:
        envelope = letter.envelope
        cells.append(
            (
                letter.id,
                f"{age(now_ms - letter.died_ms)} ago",
                letter.reason,
                str(envelope.attempts) if envelope else "?",
                str(envelope.crashes) if envelope else "?",
                printable(envelope.sentence.encode(), SENTENCE_CHARACTERS) if envelope else "",
                printable(letter.raw, JOB_CHARACTERS),
            )
        )
    return table(cells)


def full(letter: Letter, now_ms: int) -> list[str]:
    """Write down all that is known of one."""
    envelope = letter.envelope
    facts = [("id", letter.id)]
    if envelope is not None:
        facts += [("job id", envelope.job_id)]
    facts += [("died", f"{timestamp(letter.died_ms)} ({age(now_ms - letter.died_ms)} ago)")]
    if envelope is None:
        facts += [("reason", "its entry cannot be read; it can only be dropped")]
    else:
        facts += [
            ("first seen", timestamp(envelope.first_seen_ms)),
            ("reason", envelope.reason),
            ("why", printable(envelope.sentence.encode())),
            ("attempts", str(envelope.attempts)),
            ("crashes", str(envelope.crashes)),
            ("job", printable(envelope.raw)),
        ]
    return [*table([(f"{name}:", value) for name, value in facts]), ""]


def document(letter: Letter) -> dict[str, Any]:
    """Return what `--output json` prints; what is unknown is null."""
    envelope = letter.envelope
    return {
        "id": letter.id,
        "jobId": envelope.job_id if envelope else None,
        "died": timestamp(letter.died_ms),
        "firstSeen": timestamp(envelope.first_seen_ms) if envelope else None,
        "reason": letter.reason,
        "sentence": envelope.sentence if envelope else None,
        "attempts": envelope.attempts if envelope else None,
        "crashes": envelope.crashes if envelope else None,
        "raw": letter.raw.decode(errors="replace"),
        "job": _json(letter.raw),
    }


def timestamp(at_ms: int) -> str:
    """Write a time of Redis's clock."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(raw: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
