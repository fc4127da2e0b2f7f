"""Who of several operators leads: the holder of one `coordination.k8s.io` Lease.

Two rules keep it to one at a time, and neither compares two machines' clocks:

- The holder counts from when it *sent* its last successful renewal, and begins no write after
  two thirds of the lease's duration.
- The others count from when they *saw* the last change, which is later, and take over after the
  whole duration. The third between them is for a write that was under way.

`Candidacy` is the pure core; `Elector` performs it. Neither knows what leading is for, nor
Kubernetes' client: the store is handed in.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from workerpool_operator.errors import ApplyFailed, Conflict, NotFound

log = logging.getLogger(__name__)

Document = dict[str, Any]

WRITE = 2 / 3
"""The part of the lease's duration for which its holder may write after a renewal."""
RENEW = 1 / 6
"""The part of the duration after which it is renewed: some attempts fit before writing ends."""
PATIENCE = 1 / 4
"""The part of the duration for which an answer is waited for."""
STANDBY_SECONDS = 0.3
"""How often the others look: how long nobody leads when a holder lets go."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease as it is stored; one without a version does not exist."""

    holder: str = ""
    seconds: float = 0.0
    transitions: int = 0
    version: str = ""


def parse(body: Mapping[str, Any]) -> Lease:
    """Return what a stored Lease says; what is left out of it is nobody's."""
    spec = body.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or 0),
        transitions=spec.get("leaseTransitions") or 0,
        version=body["metadata"]["resourceVersion"],
    )


@dataclass(frozen=True, slots=True)
class Candidacy:
    """What one operator knows of the Lease, by its own monotonic clock alone."""

    identity: str
    lease: Lease = Lease()
    changed_at: float = -math.inf
    """When the Lease was first seen as it is."""
    sent_at: float = -math.inf
    """When the last claim or renewal that succeeded was sent."""

    @property
    def mine(self) -> bool:
        """Whether the Lease names this operator, however old that is."""
        return self.lease.holder == self.identity

    def seen(self, lease: Lease | None, at: float) -> "Candidacy":
        """Return what is known after a look; `None` if there is no Lease.

        One that somebody deleted still has a holder who may not know it: its time is waited for.
        """
        if lease is None:
            return replace(self, lease=replace(self.lease, version=""))
        if lease.version == self.lease.version:
            return self
        return replace(self, lease=lease, changed_at=at)

    def may_claim(self, at: float) -> bool:
        """Return whether the Lease is free, one's own, or silent for its whole duration."""
        silent = at - self.changed_at > self.lease.seconds
        return self.mine or not self.lease.holder or silent

    def claim(self, seconds: float) -> Lease:
        """Return the Lease to write for holding it `seconds` more."""
        transitions = self.lease.transitions + (not self.mine)
        return Lease(self.identity, seconds, transitions, self.lease.version)

    def claimed(self, lease: Lease, sent_at: float) -> "Candidacy":
        """Return what is known after a claim that was sent at `sent_at` succeeded."""
        return replace(self, lease=lease, changed_at=sent_at, sent_at=sent_at)

    def write_seconds(self, at: float) -> float:
        """Return for how long this operator may still begin writes; not at all below zero."""
        if not self.mine:
            return -math.inf
        return self.sent_at + self.lease.seconds * WRITE - at


class LeaseStore(Protocol):
    """Where the Lease is kept."""

    async def read_lease(self) -> Document:
        """Return it; `NotFound` if there is none."""

    async def write_lease(self, spec: Document, version: str) -> Document:
        """Replace it if it has that version, create it if that is empty; else `Conflict`."""


class Elector:
    """Runs for the Lease, holds it, and gives it back."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        seconds: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
    ) -> None:
        """Run as `identity` for a lease of `seconds`, by `clock`, which never goes backwards.

        The wall clock's time is written for people and never read.
        """
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._candidacy = Candidacy(identity)
        self._acquired = ""
        self._turn = asyncio.Lock()
        """Held while the Lease is written: giving it back must not meet a renewal."""
        self._released = False
        self._suspended = False
        self._trouble = ""
        self.elected = asyncio.Event()
        """Set with the first claim, and never taken back: whoever loses the Lease has `lost`."""
        self.lost = asyncio.Event()
        self.progress_at = clock()

    def write_seconds(self) -> float:
        """Return for how long writes may still begin; not at all below zero."""
        if self._released or self.lost.is_set():
            return -math.inf
        return self._candidacy.write_seconds(self._clock())

    @property
    def leads(self) -> bool:
        """Whether this operator may write now."""
        return self.write_seconds() > 0

    @property
    def holder(self) -> str:
        """Who holds the Lease, as far as is known."""
        return self._candidacy.lease.holder

    def stuck(self, seconds: float) -> str | None:
        """Say if no attempt ended for `seconds`."""
        idle = self._clock() - self.progress_at
        return "the lease is not looked after" if idle > seconds else None

    async def run(self) -> None:
        """Claim the Lease as soon as it is free, and renew it until it is lost or given back."""
        while not self.lost.is_set() and not self._released:
            try:
                async with asyncio.timeout(self._seconds * PATIENCE), self._turn:
                    await self._attempt()
                self._trouble = ""
            except (ApplyFailed, TimeoutError) as error:
                self._complain(str(error) or "no answer in time")
            except Exception:  # the edge of a task: the next attempt may do better
                log.exception("the lease could not be looked at")
            self.progress_at = self._clock()
            self._announce()
            await asyncio.sleep(self._seconds * RENEW if self.leads else STANDBY_SECONDS)

    async def release(self) -> None:
        """Give the Lease back, so that another need not wait; write nothing from now on."""
        self._released = True
        try:
            async with asyncio.timeout(self._seconds * PATIENCE), self._turn:
                if not self._candidacy.mine:
                    return
                lease = replace(self._candidacy.lease, holder="", seconds=1)
                await self._store.write_lease(self._spec(lease), lease.version)
            log.info("gave the lease back")
        except (ApplyFailed, TimeoutError) as error:
            log.warning("the lease was not given back, it will run out: %s", error)

    async def _attempt(self) -> None:
        if not self._candidacy.mine or not self._candidacy.lease.version:
            await self._look()
        sent_at = self._clock()
        before = self._candidacy
        if self._released or self.lost.is_set() or not before.may_claim(sent_at):
            return
        lease = before.claim(self._seconds)
        if not before.mine or not self._acquired:
            self._acquired = self._now()
        try:
            body = await self._store.write_lease(self._spec(lease), lease.version)
        except (Conflict, NotFound):  # somebody else wrote first, or took it away
            await self._look()
        else:
            self._candidacy = before.claimed(parse(body), sent_at)

    async def _look(self) -> None:
        try:
            lease = parse(await self._store.read_lease())
        except NotFound:
            lease = None
        # After the answer: later than its being stored, so that a holder is given its whole time.
        self._candidacy = self._candidacy.seen(lease, self._clock())
        if self.elected.is_set() and not self._candidacy.mine:
            self.lost.set()

    def _announce(self) -> None:
        """Log what changed, and tell whoever waits for it."""
        if self.lost.is_set():
            log.error("lost the lease", extra={"holder": self.holder})
        elif self.leads and not self.elected.is_set():
            log.info("leading", extra={"lease_seconds": self._seconds})
            self.elected.set()
        elif self.leads and self._suspended:
            log.info("the lease is renewed again")
            self._suspended = False
        elif self.elected.is_set() and not self.leads and not self._suspended:
            log.warning("the lease could not be renewed: nothing is written until it is")
            self._suspended = True

    def _complain(self, trouble: str) -> None:
        """Log a failure, once for each kind in a row."""
        if trouble != self._trouble:
            log.warning("the lease cannot be reached: %s", trouble)
        self._trouble = trouble

    def _now(self) -> str:
        return self._wall_clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _spec(self, lease: Lease) -> Document:
        return {
            "holderIdentity": lease.holder,
            # Whole seconds is what the API has; never less than what is counted with.
            "leaseDurationSeconds": math.ceil(lease.seconds),
            "leaseTransitions": lease.transitions,
            "acquireTime": self._acquired or None,
            "renewTime": self._now(),
        }
