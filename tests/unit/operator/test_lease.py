"""One leader at a time: the rules, and electors over one Lease on a virtual clock."""

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool_operator.errors import ApplyFailed, Conflict, NotFound
from workerpool_operator.lease import RENEW, STANDBY_SECONDS, WRITE, Candidacy, Elector, Lease

SECONDS = 10.0
THEIRS = Lease(holder="them", seconds=SECONDS, transitions=3, version="7")


# --- the rules


def test_a_lease_that_does_not_exist_or_is_given_back_may_be_claimed_at_once() -> None:
    fresh = Candidacy("me")

    assert fresh.seen(None, 100).may_claim(100)
    assert fresh.seen(Lease(holder="", seconds=1, version="7"), 100).may_claim(100)


@pytest.mark.parametrize(
    ("after", "may"), [(0.0, False), (9.9, False), (10.0, False), (10.1, True)]
)
def test_a_silent_holder_is_given_the_whole_duration_from_the_first_look(
    after: float,
    may: bool,  # noqa: FBT001  a column of the table
) -> None:
    """However old the renewal is that one reads: only one's own clock is trusted."""
    candidacy = Candidacy("me").seen(THEIRS, 100)

    assert candidacy.seen(THEIRS, 100 + after).may_claim(100 + after) is may


def test_every_renewal_that_is_seen_begins_the_wait_anew() -> None:
    renewed = Lease(holder="them", seconds=SECONDS, version="8")
    candidacy = Candidacy("me").seen(THEIRS, 100).seen(renewed, 109)

    assert not candidacy.may_claim(118)
    assert candidacy.may_claim(119.1)


def test_a_lease_somebody_deletes_still_has_a_holder_whose_time_runs() -> None:
    candidacy = Candidacy("me").seen(THEIRS, 100).seen(None, 104)

    assert not candidacy.may_claim(109)
    assert candidacy.may_claim(110.1)
    assert candidacy.claim(SECONDS).version == "", "created, not replaced"


def test_a_holder_that_was_started_anew_goes_on_with_a_claim_and_not_before() -> None:
    """The container of a pod was restarted: its lease carries the pod's name already."""
    mine = Lease(holder="me", seconds=SECONDS, transitions=3, version="7")
    candidacy = Candidacy("me").seen(mine, 100)

    assert candidacy.write_seconds(100) == -math.inf, "nothing was claimed by this process"
    assert candidacy.may_claim(100)
    assert candidacy.claim(SECONDS).transitions == 3


def test_taking_over_counts_a_transition() -> None:
    claim = Candidacy("me").seen(THEIRS, 100).claim(SECONDS)

    assert claim == Lease(holder="me", seconds=SECONDS, transitions=4, version="7")


def test_writing_ends_well_before_the_lease_counted_from_the_sending() -> None:
    mine = Lease(holder="me", seconds=SECONDS, version="8")
    candidacy = Candidacy("me").claimed(mine, sent_at=100)

    assert candidacy.write_seconds(100) == pytest.approx(SECONDS * WRITE)
    assert candidacy.write_seconds(100 + SECONDS * WRITE + 0.01) < 0
    assert candidacy.seen(THEIRS, 101).write_seconds(101) == -math.inf


moments = st.floats(min_value=0, max_value=60, allow_nan=False)


@given(moments, moments, moments, moments)
def test_nobody_may_claim_while_the_holder_may_still_write(
    sent: float, stored_after: float, seen_after: float, asked_after: float
) -> None:
    """Sent, then stored, then seen by another: whatever the delays, and the clocks."""
    mine = Lease(holder="me", seconds=SECONDS, version="8")
    holder = Candidacy("me").claimed(mine, sent_at=sent)
    seen = sent + stored_after + seen_after
    skew = 12_345.0
    other = Candidacy("them").seen(mine, seen + skew)

    asked = seen + asked_after

    assert not (holder.write_seconds(asked) > 0 and other.may_claim(asked + skew))


# --- electors


class Store:
    """A Lease in memory, with the server's preconditions."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.fault: Exception | None = None
        self.writes = 0
        self.written = asyncio.Event()
        self._versions = itertools.count(1)

    async def read_lease(self) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        self._fail()
        if self.body is None:
            raise NotFound("no such lease")
        return self.body

    async def write_lease(self, spec: dict[str, Any], version: str) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        self._fail()
        present = "" if self.body is None else self.body["metadata"]["resourceVersion"]
        if version != present:
            raise Conflict("changed")
        self.writes += 1
        self.written.set()
        self.body = {"metadata": {"resourceVersion": str(next(self._versions))}, "spec": spec}
        return self.body

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    @property
    def holder(self) -> str:
        return "" if self.body is None else str(self.body["spec"]["holderIdentity"])


class Replica:
    """An elector at work, and its clock, which may differ from everybody's."""

    def __init__(self, store: Store, name: str, *, skew: float = 0.0) -> None:
        def clock() -> float:
            return asyncio.get_running_loop().time() + skew

        def wall() -> datetime:
            return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=skew)

        self.elector = Elector(store, name, SECONDS, clock, wall)
        self.task = asyncio.create_task(self.elector.run())

    async def vanish(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def replicate(store: Store) -> AsyncIterator[Callable[..., Replica]]:
    replicas: list[Replica] = []

    def make(name: str, *, skew: float = 0.0) -> Replica:
        replicas.append(Replica(store, name, skew=skew))
        return replicas[-1]

    yield make
    for replica in replicas:
        await replica.vanish()


Replicate = Callable[..., Replica]
# Nothing comes from outside, so the clock need not wait for it before it moves.
on_virtual_time = pytest.mark.looptime(noop_cycles=0)


def now() -> float:
    return asyncio.get_running_loop().time()


@on_virtual_time
async def test_one_of_several_is_elected_and_the_others_wait(replicate: Replicate) -> None:
    replicas = [replicate(name) for name in ("a", "b", "c")]
    await asyncio.sleep(60)

    assert sum(replica.elector.leads for replica in replicas) == 1
    assert sum(replica.elector.elected.is_set() for replica in replicas) == 1


@on_virtual_time
@pytest.mark.parametrize("skew", [0.0, -86_400.0, 1e6])
async def test_a_holder_that_vanishes_is_followed_within_the_duration_whatever_the_clocks(
    replicate: Replicate, skew: float
) -> None:
    first = replicate("a")
    await first.elector.elected.wait()
    second = replicate("b", skew=skew)
    await asyncio.sleep(30)
    await first.vanish()
    vanished = now()

    await second.elector.elected.wait()

    assert SECONDS * (1 - RENEW) <= now() - vanished <= SECONDS + 2 * STANDBY_SECONDS
    assert not first.elector.leads


@on_virtual_time
async def test_a_lease_that_is_given_back_is_taken_at_once(replicate: Replicate) -> None:
    first = replicate("a")
    await first.elector.elected.wait()
    second = replicate("b")
    await asyncio.sleep(5)
    began = now()

    await first.elector.release()
    await second.elector.elected.wait()

    assert now() - began < 2 * STANDBY_SECONDS
    assert not first.elector.leads
    await asyncio.sleep(60)
    assert second.elector.leads, "and is not taken back"


@on_virtual_time
async def test_a_store_that_is_away_takes_the_right_to_write_and_gives_it_back(
    replicate: Replicate, store: Store
) -> None:
    replica = replicate("a")
    await replica.elector.elected.wait()
    store.fault = ApplyFailed("away")
    await asyncio.sleep(SECONDS)

    assert not replica.elector.leads
    assert not replica.elector.lost.is_set(), "nobody else has it"
    store.fault = None
    await asyncio.sleep(1)
    assert replica.elector.leads


@on_virtual_time
async def test_whoever_comes_back_late_has_lost_and_stays_so(
    replicate: Replicate, store: Store
) -> None:
    first = replicate("a")
    await first.elector.elected.wait()
    await first.vanish()  # held still, as by SIGSTOP
    second = replicate("b")
    await second.elector.elected.wait()

    first.task = asyncio.create_task(first.elector.run())
    await asyncio.wait_for(first.elector.lost.wait(), 5)

    await asyncio.sleep(60)
    assert not first.elector.leads
    assert store.holder == "b"


@on_virtual_time
async def test_a_lease_deleted_by_hand_is_made_again_by_its_holder(
    replicate: Replicate, store: Store
) -> None:
    first = replicate("a")
    await first.elector.elected.wait()
    second = replicate("b")
    await asyncio.sleep(5)
    store.body = None
    await asyncio.sleep(30)

    assert store.holder == "a"
    assert first.elector.leads
    assert not second.elector.elected.is_set()


@on_virtual_time
async def test_a_renewal_whose_answer_was_lost_is_no_loss(
    replicate: Replicate, store: Store
) -> None:
    replica = replicate("a")
    await replica.elector.elected.wait()
    assert store.body is not None
    store.body = store.body | {"metadata": {"resourceVersion": "1000"}}  # it was stored after all
    await asyncio.sleep(SECONDS)

    assert replica.elector.leads


@on_virtual_time
async def test_holding_costs_one_write_a_sixth_of_the_duration_and_waiting_none(
    replicate: Replicate, store: Store
) -> None:
    first = replicate("a")
    await first.elector.elected.wait()
    replicate("b")
    before = store.writes
    await asyncio.sleep(200)

    assert (store.writes - before) == pytest.approx(200 / (SECONDS * RENEW), abs=2)


@on_virtual_time
@pytest.mark.parametrize("phase", [0.0, 0.0005, 0.001, 0.0015])
async def test_giving_back_does_not_meet_a_renewal_that_is_under_way(
    replicate: Replicate, store: Store, phase: float
) -> None:
    replica = replicate("a")
    await replica.elector.elected.wait()
    store.written.clear()
    await store.written.wait()
    await asyncio.sleep(SECONDS * RENEW + phase)  # the next one begins, is sent, is answered

    await replica.elector.release()

    assert store.holder == ""
