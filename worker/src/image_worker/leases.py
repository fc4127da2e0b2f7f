"""The lease protocol's client: typed calls, no decisions.

`docs/protocol.md` says what each call promises; the scripts in `lua/` keep those promises.
Trouble comes up from the link as QueueUnavailable.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import sha1
from importlib import resources
from typing import Any

from image_worker import telemetry
from image_worker.envelope import Lease, opened
from image_worker.errors import QueueUnavailable
from image_worker.job import MAX_PAYLOAD_BYTES
from image_worker.keys import Keys
from image_worker.link import Call, Link, Script, answered
from image_worker.records import record
from image_worker.resp import Word

BLOCK_LONGEST = timedelta(seconds=2)
"""How long one BLMOVE waits: also how late a drain or another's retry may be noticed.

Must stay below the link's ANSWER_WITHIN."""
RECORD_LIVES = timedelta(minutes=10)
REAP_LIMIT = 50
MAX_CRASHES = 3
"""Crashes after which a job counts as poison."""
MAX_SENTENCE_CHARACTERS = 500
NOTHING_FINISHED = ("", 0)
BAD_ENVELOPE = "BadEnvelope"
SHOWN_BYTES = 80
TWIN_WAITS = timedelta(seconds=5)
"""Until a job is looked at again whose id another one in flight has."""
HOLDER_KEPT = timedelta(days=2)
"""Longer than any job may take."""


@record
class Claim:
    """The answer to a claim: whether the finished job was still ours, and what comes next."""

    acked: bool
    lease: Lease | None = None
    due_in: timedelta | None = None
    """With no lease: when the next retry is due, if any waits."""
    spent: bool = False
    """The token's job was lost to others meanwhile: come again with a fresh token."""
    retired_for: timedelta | None = None
    """The pod is about to go: no jobs for it, for so long at most."""
    refused: int = 0
    """How many jobs the queue buried on the way, as they are longer than a worker takes."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat."""

    now_ms: int
    lost: tuple[str, ...]
    expired_leases: int
    expired_workers: tuple[str, ...]


@cache
def script(name: str) -> Script:
    """Load one of the scripts of `lua/`."""
    folder = resources.files("image_worker") / "lua"
    parts = [(folder / f"{part}.lua").read_text() for part in ("prelude", name)]
    # Claiming writes; a full Redis must not stop the workers who would empty it.
    source = "\n".join(["#!lua flags=allow-oom", *parts])
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


class Leases:
    """Calls of the protocol on one connection."""

    def __init__(self, link: Link, keys: Keys, lease: timedelta, *, results_kept: int = 0) -> None:
        self._results_kept = results_kept
        self._link = link
        self._keys = keys
        self._shared = keys.shared
        self._claims: dict[tuple[str, bool], Call] = {}
        """What is the same in each claim of a worker, with retries first and without."""
        self._lease_ms = _ms(lease)
        # A blocked BLMOVE must end before the worker that sent it can be struck off.
        self._block_longest = min(BLOCK_LONGEST, lease / 2)

    @property
    def queue(self) -> str:
        """The list whose jobs these are."""
        return self._keys.list

    def claim(
        self,
        worker: str,
        token: str,
        *,
        finished: tuple[str, int] = NOTHING_FINISHED,
        result: str = "",
        retries_first: bool = False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Claim:
        """Acknowledge `finished` (a lease and its busy milliseconds), and take the next job.

        A `result` is listed if the lease was still ours, and once however often this is asked.
        `meanwhile` is done while Redis is at it.

        After QueueUnavailable ask again with the same token: a job that the lost reply had
        granted is granted again.
        """
        acked, refused, *answer = self._link.run(
            self._claims.get((worker, retries_first)) or self._claim_of(worker, retries_first),
            (token, *finished, result),
            meanwhile,
        )
        if len(answer) == 1:
            lease = opened(token, answer[0])
            if lease is not None:
                return Claim(bool(acked), lease, refused=refused)
            self._set_aside(token, answer[0])
            return Claim(bool(acked), spent=True, refused=refused)
        verdict, due_ms = answer
        later = timedelta(milliseconds=due_ms) if due_ms >= 0 else None
        retired = verdict == b"retired"
        return Claim(
            acked=bool(acked),
            due_in=None if retired else later,
            spent=verdict == b"spent",
            retired_for=later if retired else None,
            refused=refused,
        )

    def wait(self, worker: str, longest: timedelta) -> bool:
        """Wait until a job has landed (True) or time is up (False)."""
        enlist = script("enlist")
        # One write: to be known costs no journey of its own.
        return self._link.heard(
            ("EVAL", enlist.source, len(self._shared), *self._shared, worker, self._lease_ms),
            self._block(longest),
        )

    def begin_wait(self, longest: timedelta) -> None:
        """Begin to wait, right after a claim; `end_wait` before any other call."""
        self._link.begin(self._block(longest))

    def end_wait(self) -> bool:
        """Say whether a job has landed (True) or time is up (False)."""
        return self._link.end()

    @staticmethod
    def answered(waiting: Sequence["Leases"], longest: timedelta) -> list["Leases"]:
        """Wait until some of these waits are over; none, if Redis keeps silent about all."""
        links = answered([leases._link for leases in waiting], longest)  # noqa: SLF001  our own
        return [leases for leases in waiting if leases._link in links]  # noqa: SLF001

    def _block(self, longest: timedelta) -> tuple[Word, ...]:
        # A block of 0 would be for ever.
        block = max(min(longest, self._block_longest), timedelta(milliseconds=1))
        keys = self._keys
        seconds = f"{block.total_seconds():.3f}"
        return ("BLMOVE", keys.list, keys.landing, "LEFT", "RIGHT", seconds)

    def beat(self, workers: Sequence[str], leases: Sequence[str]) -> Beat:
        """Renew workers and leases; learn which leases are lost and what there is to reap."""
        now, lost, expired_leases, expired_workers = self._run(
            "beat",
            [self._keys.record(worker) for worker in workers],
            [self._lease_ms, _ms(RECORD_LIVES), len(workers), *workers, *leases],
        )
        return Beat(
            now_ms=int(now),
            lost=tuple(lease.decode() for lease in lost),
            expired_leases=expired_leases,
            expired_workers=tuple(worker.decode() for worker in expired_workers),
        )

    def record(self, worker: str, fields: Mapping[str, str]) -> None:
        """Tell what a worker is."""
        pairs = [word for pair in fields.items() for word in pair]
        self._run("record", [self._keys.record(worker)], [_ms(RECORD_LIVES), *pairs])

    def admit(self, lease: str, *, job_id: str | None, not_before_ms: int | None) -> str:
        """Ask whether a job may be done now: `go`, `early`, `twin`, `duplicate` or `lost`."""
        keys = [] if job_id is None else [self._keys.memory(job_id)]
        when = "" if not_before_ms is None else not_before_ms
        return _word(self._run("admit", keys, [lease, when, _ms(TWIN_WAITS), _ms(HOLDER_KEPT)]))

    def finish(
        self, finished: tuple[str, int], *, job_id: str, kept: timedelta, result: str = ""
    ) -> bool:
        """Acknowledge at once, and remember the id for so long; returns whether it was acked."""
        keys = [self._keys.results, self._keys.memory(job_id)]
        return bool(self._run("finish", keys, [*finished, result, self._results_kept, _ms(kept)]))

    def acknowledge(self, finished: tuple[str, int], *, result: str = "") -> bool:
        """Acknowledge without taking another job; returns whether the lease was still ours."""
        arguments: list[Word] = [*finished, result, self._results_kept, 0]
        return bool(self._run("finish", [self._keys.results], arguments))

    def fail(
        self, lease: str, *, reason: str, sentence: str, max_attempts: int, delay: timedelta
    ) -> str:
        """Count a failed attempt; returns `retry`, `buried` or `lost`."""
        arguments: list[Word] = [
            lease,
            reason,
            _shortened(sentence),
            max_attempts,
            _ms(delay),
        ]
        return _word(self._run("fail", [], arguments))

    def bury(self, lease: str, *, reason: str, sentence: str) -> str:
        """Give a job up for good: a failed attempt with none left."""
        return self.fail(
            lease, reason=reason, sentence=sentence, max_attempts=0, delay=timedelta()
        )

    def crash(self, lease: str, *, reason: str, sentence: str) -> str:
        """Count a crash; returns `retry`, `buried` or `lost`."""
        arguments: list[Word] = [lease, reason, _shortened(sentence), MAX_CRASHES]
        return _word(self._run("crash", [], arguments))

    def withdraw(self, token: str) -> None:
        """Hand back what an unanswered claim may have been granted."""
        self.release(token)

    def release(self, lease: str) -> str:
        """Hand a job back uncounted; returns `list`, `retry` or `lost`."""
        return _word(self._run("release", [], [lease]))

    def hand_back(self, lease: str) -> str:
        """Release a job that was not begun, which makes no difference here."""
        return self.release(lease)

    def reap(self, *, blame_after_ms: int) -> tuple[int, int]:
        """Take expired leases back; returns how many, and how many of them were buried."""
        reaped, buried = self._run("reap", [], [REAP_LIMIT, MAX_CRASHES, blame_after_ms])
        return reaped, buried

    def strike(self, worker: str) -> bool:
        """Strike a silent worker off; returns False if it is alive after all."""
        return bool(self._run("strike", [self._keys.record(worker)], [worker]))

    def leave(
        self, worker: str, finished: tuple[str, int] = NOTHING_FINISHED, result: str = ""
    ) -> bool:
        """Say goodbye: acknowledge, give back, be forgotten; returns whether it was acked."""
        keys = [self._keys.landing, self._keys.record(worker), self._keys.results]
        acked, _ = self._run("leave", keys, [worker, *finished, result, self._results_kept])
        return bool(acked)

    def server_started_ms(self, now_ms: int) -> int | None:
        """Say since when this Redis runs, by its own clock; None if we may not know."""
        try:
            (info,) = self._link.call(("INFO", "server"))
        except QueueUnavailable as error:
            if error.reason == "NOPERM":
                return None
            raise
        uptime = info.split(b"uptime_in_seconds:", 1)[1].split(b"\r\n", 1)[0]
        # Told in whole seconds: take the latest start it may mean, which excuses rather more.
        return now_ms - max(0, int(uptime) - 1) * 1000

    def close(self) -> None:
        """Drop the connection."""
        self._link.close()

    def _claim_of(self, worker: str, retries_first: bool) -> Call:  # noqa: FBT001  a dict's key
        keys = self._keys
        call = self._claims[worker, retries_first] = Call(
            script("claim"),
            (*self._shared, keys.landing, keys.results, keys.retired, keys.record(worker)),
            *(worker, self._lease_ms, self._results_kept, MAX_PAYLOAD_BYTES),
            "retry" if retries_first else "new",
        )
        return call

    def _set_aside(self, token: str, envelope: bytes) -> None:
        """Bury what others than the scripts have written, or it would come again and again."""
        self.bury(token, reason=BAD_ENVELOPE, sentence="")
        telemetry.log(
            logging.ERROR,
            "a job's envelope cannot be read, so it was buried as it is",
            lease=token,
            reason=BAD_ENVELOPE,
            begins=repr(envelope[:SHOWN_BYTES]),
        )

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Word]) -> Any:  # noqa: ANN401
        return self._link.run(Call(script(name), (*self._shared, *keys)), arguments)


def _word(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _shortened(sentence: str) -> str:
    """Cut a sentence, and make it encodable: it may quote a hostile file name."""
    return sentence[:MAX_SENTENCE_CHARACTERS].encode(errors="replace").decode()


def _ms(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
