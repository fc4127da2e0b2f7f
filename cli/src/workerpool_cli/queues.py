"""One queue in Redis: its calls, as `docs/protocol.md` has them.

It knows keys and commands, and decides nothing.  Every call is bounded: pages of a few hundred,
scripts over a hundred jobs at most, never KEYS.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from workerpool_cli.batches import batched
from workerpool_cli.errors import RedisTrouble
from workerpool_cli.keys import Keys
from workerpool_cli.link import Command, Link
from workerpool_cli.model import Deadline, Envelope, Letter, Snapshot, Stats, Worker, worker_of

PAGE = 500
SCRIPT_BATCH = 100


class Queue:
    """Calls on one link."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self.keys = keys

    def now_ms(self) -> int:
        """Read Redis's clock: every time that the queue holds was taken from it."""
        seconds, micros = self._link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def check(self) -> None:
        """Make sure that the list is a list, or nothing yet, and so on for what is beside it."""
        keys = self.keys
        meant = {keys.list: "list", keys.landing: "list", keys.jobs: "hash", keys.stats: "hash"}
        meant |= dict.fromkeys((keys.inflight, keys.retry, keys.dead, keys.workers), "zset")
        kinds = _names(self._link.together([("TYPE", key) for key in meant]))
        for kind, (key, right) in zip(kinds, meant.items(), strict=True):
            if kind not in {right, "none"}:
                what = "a queue is" if key == keys.list else "a queue keeps there"
                raise RedisTrouble(
                    f"{key} is a {kind} in this Redis, and {what} a {right}: look at --queue, and "
                    "at the database's number in the address"
                )

    def push(self, jobs: Sequence[bytes]) -> int:
        """Append jobs, all or none; returns the length of the list after it."""
        length: int = self._link.call("RPUSH", self.keys.list, *jobs)
        return length

    def snapshot(self) -> Snapshot:
        """Read the whole queue at one instant."""
        keys = self.keys
        now = self.now_ms()
        replies = self._link.at_once(
            [
                ("LLEN", keys.list),
                ("LLEN", keys.landing),
                ("ZCOUNT", keys.retry, "-inf", now),
                ("ZCOUNT", keys.retry, f"({now}", "+inf"),
                ("ZRANGE", keys.retry, 0, 0, "WITHSCORES"),
                ("ZCARD", keys.dead),
                _all(keys.inflight),
                _all(keys.workers),
                ("HMGET", keys.stats, "done", "failed", "crashed", "dead", "busy_ms"),
            ]
        )
        length, landed, due, scheduled, first, dead, leases, workers, stats = replies
        return Snapshot(
            now_ms=now,
            waiting=length + landed,
            due=due,
            scheduled=scheduled,
            next_retry_ms=_deadlines(first)[0].at_ms if first else None,
            dead=dead,
            in_flight=_deadlines(leases),
            workers=_deadlines(workers),
            stats=Stats(*(int(value or 0) for value in stats)),
        )

    def workers(self, snapshot: Snapshot) -> tuple[Worker, ...]:
        """Read what the snapshot's workers tell of themselves, and what each of them does."""
        held = {worker_of(lease.id): lease.id for lease in snapshot.in_flight}
        envelopes = self.envelopes(list(held.values()))
        records = self._paged(("HGETALL", self.keys.record(w.id)) for w in snapshot.workers)
        return tuple(
            _worker(worker, record, snapshot.now_ms, envelopes.get(held.get(worker.id, "")))
            for worker, record in zip(snapshot.workers, records, strict=True)
        )

    def envelopes(self, leases: Sequence[str]) -> dict[str, Envelope]:
        """Read jobs that left the list; those that ended meanwhile are left out."""
        found: dict[str, Envelope] = {}
        for page in batched(leases, PAGE):
            for lease, packed in zip(page, self._packed(page), strict=True):
                envelope = Envelope.parse(packed) if packed is not None else None
                if envelope is not None:
                    found[lease] = envelope
        return found

    def retrying(self) -> list[str]:
        """Name the jobs that wait for their next attempt."""
        return _names(self._link.call("ZRANGE", self.keys.retry, 0, -1))

    def in_flight(self) -> list[str]:
        """Name the jobs that are claimed."""
        return _names(self._link.call("ZRANGE", self.keys.inflight, 0, -1))

    def waiting(self) -> Iterator[bytes]:
        """Read the list from its tail to its head.

        In this direction nothing that stays in the list is passed over: jobs leave and return
        at the head, and what is pushed meanwhile only shows some jobs twice.
        """
        stop = -1
        while page := self._link.call("LRANGE", self.keys.list, stop - PAGE + 1, stop):
            yield from reversed(page)
            stop -= PAGE

    def landed(self) -> Iterator[bytes]:
        """Read the jobs that have woken a worker and are not claimed yet."""
        yield from self._link.call("LRANGE", self.keys.landing, 0, PAGE)

    def letters(
        self, since: timedelta | None = None, until_ms: int | None = None
    ) -> Iterator[Letter]:
        """Read dead letters, the newest first, from `until_ms` (now) back for `since` (ever)."""
        newest = self.now_ms() if until_ms is None else until_ms
        oldest = "-inf" if since is None else newest - since // timedelta(milliseconds=1)
        offset = 0
        while True:
            page = _deadlines(
                self._link.call(
                    *("ZRANGE", self.keys.dead, newest, oldest, "BYSCORE", "REV"),
                    *("LIMIT", offset, PAGE, "WITHSCORES"),
                )
            )
            ids = [letter.id for letter in page]
            for letter, packed in zip(page, self._packed(ids), strict=True):
                envelope = Envelope.parse(packed) if packed is not None else None
                yield Letter(letter.id, letter.at_ms, envelope)
            if len(page) < PAGE:
                return
            # On from the last one's time, past those of that very time that were read already.
            last = page[-1].at_ms
            offset = sum(letter.at_ms == last for letter in page) + (
                offset if last == newest else 0
            )
            newest = last

    def requeue(self, letters: Sequence[str]) -> list[str]:
        """Put dead letters back to the tail of the list: requeued, gone or unreadable, each."""
        return self._scripted("requeue", letters)

    def drop(self, letters: Sequence[str]) -> list[str]:
        """Forget dead letters: dropped or gone, each."""
        return self._scripted("drop", letters)

    def _scripted(self, script: str, letters: Sequence[str]) -> list[str]:
        keys = [self.keys.list, self.keys.jobs, self.keys.dead]
        return _names(self._link.script(script, keys, letters[:SCRIPT_BATCH]))

    def _packed(self, leases: Sequence[str]) -> list[bytes | None]:
        return self._link.call("HMGET", self.keys.jobs, *leases) if leases else []

    def _paged(self, commands: Iterator[Command]) -> Iterator[Any]:
        for page in batched(commands, PAGE):
            yield from self._link.together(page)


def _all(key: str) -> Command:
    return ("ZRANGE", key, 0, -1, "WITHSCORES")


def _deadlines(flat: Sequence[bytes]) -> tuple[Deadline, ...]:
    return tuple(Deadline(name.decode(), int(float(at))) for name, at in batched(flat, 2))


def _names(replies: Sequence[bytes]) -> list[str]:
    return [reply.decode() for reply in replies]


def _worker(
    worker: Deadline, record: dict[bytes, bytes], now_ms: int, job: Envelope | None
) -> Worker:
    told = {name.decode(): value.decode(errors="replace") for name, value in record.items()}
    started = told.get("started", "")
    return Worker(
        id=worker.id,
        silent=worker.at_ms <= now_ms,
        namespace=told.get("namespace", ""),
        pool=told.get("pool", ""),
        pod=told.get("pod", ""),
        node=told.get("node", ""),
        cpu=told.get("cpu", ""),
        started_ms=int(started) if started.isdecimal() else None,
        job=job,
    )
