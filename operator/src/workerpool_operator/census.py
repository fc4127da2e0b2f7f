"""Asks a queue's workers, through Redis, what they tell of themselves.

Knows which keys hold that; neither how Redis is reached nor what follows.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import FIELDS, Survey, current, parse

MOST = 1_000
"""Workers asked of one queue: a survey must stay cheap."""

AT_ONCE = 16
"""Records read in one round trip: while many answers are parsed, no change can be heard of."""

Ask = Callable[[Sequence[Sequence[str | int]]], Awaitable[list[Any]]]
"""Sends commands in one piece and returns their answers; an answer may be Unreadable."""


async def take(ask: Ask, prefixes: Sequence[str], now_ms: int) -> list[Survey | Unreadable]:
    """Return a survey of each queue, named by the prefix of its keys; many small round trips.

    Raises:
        Unreadable: nothing can be asked.
    """
    questions: list[tuple[str | int, ...]] = []
    for prefix in prefixes:
        workers = f"{prefix}workers"
        questions += [
            ("ZCOUNT", workers, f"({now_ms}", "+inf"),
            ("ZRANGE", workers, f"({now_ms}", "+inf", "BYSCORE", "LIMIT", 0, MOST),
        ]
    answers = await ask(questions)
    counts, members = answers[::2], answers[1::2]
    alive = [_names(some) for some in members]
    asked = [
        ("HMGET", f"{prefix}worker:{worker}", *FIELDS)
        for prefix, workers in zip(prefixes, alive, strict=True)
        for worker in workers
    ]
    chunks = [asked[i : i + AT_ONCE] for i in range(0, len(asked), AT_ONCE)]
    records = iter([answer for chunk in chunks for answer in await ask(chunk)])
    surveys: list[Survey | Unreadable] = []
    for count, some, names in zip(counts, members, alive, strict=True):
        told: list[tuple[str, Any]] = [(name, next(records)) for name in names]
        answers = [count, some, *(values for _, values in told)]
        trouble = next((answer for answer in answers if isinstance(answer, Unreadable)), None)
        # A worker that has just come has written nothing yet.
        reports = (parse(name, values) for name, values in told if not trouble and any(values))
        surveys.append(trouble or Survey(count, current(reports)))
    return surveys


def _names(members: Any) -> list[str]:  # noqa: ANN401  an answer of Redis
    """Name the workers that were found."""
    if isinstance(members, Unreadable):
        return []
    return [name.decode(errors="replace") for name in members]
