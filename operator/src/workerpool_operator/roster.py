"""Who is at work on a queue, and the closing of pods: `docs/protocol.md`, Retirement.

Knows keys, names and commands, and no connection: whoever calls hands in how to ask.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from functools import cache
from importlib import resources
from typing import Any

from workerpool_operator.tracking import queue_prefix
from workerpool_operator.victims import Roster

Ask = Callable[[Sequence[Sequence[str | int]]], Awaitable[list[Any]]]
"""Send commands to the queue's Redis; raises Unreadable if any of them fails."""


async def read(ask: Ask, queue: str) -> Roster:
    """Return what the queue knows of pods and their work."""
    keys = queue_prefix(queue)
    leases, workers = (
        [name.decode(errors="replace") for name in names]
        for names in await ask(
            [("ZRANGE", f"{keys}inflight", 0, -1), ("ZRANGE", f"{keys}workers", 0, -1)]
        )
    )
    busy = frozenset(filter(None, (_pod_of(lease.rpartition("-")[0]) for lease in leases)))
    idle = [worker for worker in workers if _pod_of(worker) and _pod_of(worker) not in busy]
    answers = await ask([("HGET", f"{keys}worker:{worker}", "idle") for worker in idle])
    since: dict[str, int | None] = {}
    for worker, answer in zip(idle, answers, strict=True):
        pod = _pod_of(worker)
        since[pod] = _later(since.get(pod, 0), _since(answer))
    return Roster(busy, since, nameless=sum("@" not in lease for lease in leases))


async def retire(ask: Ask, queue: str, pods: Collection[str], ends: timedelta) -> frozenset[str]:
    """Close the idle ones of `pods`, each with all its workers; return which were closed."""
    keys = queue_prefix(queue)
    milliseconds = round(ends / timedelta(milliseconds=1))
    keys_of_script = (f"{keys}inflight", f"{keys}retired")
    (closed,) = await ask([("EVAL", _script(), 2, *keys_of_script, milliseconds, *pods)])
    return frozenset(name.decode() for name in closed)


async def restore(ask: Ask, queue: str, pods: Iterable[str]) -> None:
    """Call pods back."""
    await ask([("ZREM", f"{queue_prefix(queue)}retired", *pods)])


@cache
def _script() -> str:
    text = (resources.files("workerpool_operator") / "lua" / "retire.lua").read_text()
    # A full Redis must not keep pods that nobody needs.
    return f"#!lua flags=allow-oom\n{text}"


def _pod_of(worker: str) -> str:
    """Return the pod that a worker's id ends with; empty if it is in none, or does not say."""
    return worker.partition("@")[2]


def _since(answer: bytes | None) -> int | None:
    """Return since when a worker is idle: `<token> <ms>`."""
    text = (answer or b"").rpartition(b" ")[2]
    return int(text) if text.isdigit() else None


def _later(one: int | None, other: int | None) -> int | None:
    """A pod is idle since its last worker is; unknown if that is."""
    return None if one is None or other is None else max(one, other)
