"""Asks a queue's workers, through Redis, what they tell of themselves.

Knows which keys hold that; neither how Redis is reached nor what follows.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import FIELDS, Survey, parse

SAMPLE = 64
"""Workers asked of one queue, drawn at random anew each time: a survey must stay cheap."""

Ask = Callable[[Sequence[Sequence[str | int]]], Awaitable[list[Any]]]
"""Sends commands in one piece and returns their answers; an answer may be Unreadable."""


async def take(ask: Ask, prefixes: Sequence[str], now_ms: int) -> list[Survey | Unreadable]:
    """Return a survey of each queue, named by the prefix of its keys; two round trips in all.

    Raises:
        Unreadable: nothing can be asked.
    """
    questions: list[tuple[str | int, ...]] = []
    for prefix in prefixes:
        workers = f"{prefix}workers"
        questions += [
            ("ZCOUNT", workers, f"({now_ms}", "+inf"),
            ("ZRANDMEMBER", workers, SAMPLE, "WITHSCORES"),
        ]
    answers = await ask(questions)
    counts, members = answers[::2], answers[1::2]
    alive = [
        [] if isinstance(some, Unreadable) else [name.decode() for name, end in some if end > now_ms]
        for some in members
    ]
    records = iter(
        await ask(
            [
                ("HMGET", f"{prefix}worker:{worker}", *FIELDS)
                for prefix, workers in zip(prefixes, alive, strict=True)
                for worker in workers
            ]
        )
        if any(alive)
        else ()
    )
    surveys: list[Survey | Unreadable] = []
    for count, some, workers in zip(counts, members, alive, strict=True):
        told = [(worker, next(records)) for worker in workers]
        faults = [a for a in (count, some, *(values for _, values in told)) if isinstance(a, Unreadable)]
        reports = (parse(worker, values) for worker, values in told if not isinstance(values, Unreadable))
        surveys.append(faults[0] if faults else Survey(count, tuple(reports)))
    return surveys
