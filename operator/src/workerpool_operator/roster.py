"""Who is at work on a queue, and the closing of pods: `docs/protocol.md`, Retirement.

Knows keys, names and commands, and no connection: whoever calls hands in how to ask.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Any

from workerpool_operator.keys import queue_prefix
from workerpool_operator.served import mark
from workerpool_operator.victims import Roster

Ask = Callable[[str, Sequence[Sequence[str | int]]], Awaitable[list[Any]]]
"""Send commands to a queue's Redis; raises Unreadable if any of them fails."""


async def read(ask: Ask, queues: Sequence[str]) -> Roster:
    """Return what the queues that pods serve know of them and their work."""
    ours = mark(queues)
    leases: list[str] = []
    workers: dict[str, list[str]] = {}
    for queue in queues:
        keys = queue_prefix(queue)
        held, present = (
            [name.decode(errors="replace") for name in names]
            for names in await ask(
                queue,
                [("ZRANGE", f"{keys}inflight", 0, -1), ("ZRANGE", f"{keys}workers", 0, -1)],
            )
        )
        leases += held
        workers[queue] = [worker for worker in present if _pod_of(worker)]
    holders = [lease.rpartition("-")[0] for lease in leases]
    busy = frozenset(filter(None, map(_pod_of, holders)))
    since: dict[str, int | None] = {}
    for queue, present in workers.items():
        idle = [worker for worker in present if _pod_of(worker) not in busy]
        keys = queue_prefix(queue)
        answers = await ask(queue, [("HGET", f"{keys}worker:{name}", "idle") for name in idle])
        for worker, answer in zip(idle, answers, strict=True):
            pod = _pod_of(worker)
            since[pod] = _later(since.get(pod, 0), _since(answer))
    everybody = (*holders, *(name for present in workers.values() for name in present))
    return Roster(
        busy,
        since,
        nameless=sum("@" not in lease for lease in leases),
        strangers=frozenset(
            filter(None, (_pod_of(name) for name in everybody if _mark_of(name) != ours))
        ),
    )


async def retire(
    ask: Ask, queues: Sequence[str], pods: Collection[str], ends: timedelta
) -> frozenset[str]:
    """Close the idle ones of `pods`, each with all its workers; return which were closed.

    One queue after the other: who has no job in a queue when it is closed there gets none there
    any more, so who could be closed in the last one has no job at all.
    """
    milliseconds = round(ends / timedelta(milliseconds=1))
    closed = frozenset(pods)
    for queue in queues:
        keys = queue_prefix(queue)
        keys_of_script = (f"{keys}inflight", f"{keys}retired")
        words: list[str | int] = [milliseconds, *sorted(closed)]
        (answer,) = await ask(queue, [("EVAL", _script(), 2, *keys_of_script, *words)])
        closed = frozenset(name.decode() for name in answer)
        if not closed:
            break
    spared = frozenset(pods) - closed
    if spared and len(queues) > 1:
        await restore(ask, queues, spared)
    return closed


async def marked(ask: Ask, queues: Sequence[str]) -> frozenset[str]:
    """Return the pods that are closed, whoever closed them, and some that were not long ago."""
    names: set[str] = set()
    for queue in queues:
        (answer,) = await ask(queue, [("ZRANGE", f"{queue_prefix(queue)}retired", 0, -1)])
        names.update(name.decode(errors="replace") for name in answer)
    return frozenset(names)


async def restore(ask: Ask, queues: Sequence[str], pods: Iterable[str]) -> None:
    """Call pods back."""
    names = tuple(pods)
    for queue in queues:
        await ask(queue, [("ZREM", f"{queue_prefix(queue)}retired", *names)])


@cache
def _script() -> str:
    text = (resources.files("workerpool_operator") / "lua" / "retire.lua").read_text()
    # A full Redis must not keep pods that nobody needs.
    return f"#!lua flags=allow-oom\n{text}"


def _pod_of(worker: str) -> str:
    """Return the pod that a worker's id ends with; empty if it is in none, or does not say."""
    return worker.partition("@")[2]


def _mark_of(worker: str) -> str:
    """Return what a worker's id says of the queues it serves."""
    _, plus, digest = worker.partition("@")[0].partition("+")
    return plus + digest


def _since(answer: bytes | None) -> int | None:
    """Return since when a worker is idle: `<token> <ms>`."""
    text = (answer or b"").rpartition(b" ")[2]
    return int(text) if text.isdigit() else None


def _later(one: int | None, other: int | None) -> int | None:
    """A pod is idle since its last worker is; unknown if that is."""
    return None if one is None or other is None else max(one, other)
