"""Real threads of this process; the children are imagined."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from image_worker.cores import Grant
from image_worker.machine import Topology
from image_worker.seating import Seating
from image_worker.settings import CpuPolicy, CpuSettings

CPUS = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two cores to tell apart")


class Child:
    """An occupant whose claiming thread is real."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.places: list[tuple[int | None, frozenset[int]]] = []

    @property
    def thread_id(self) -> int | None:
        return self.thread.native_id

    def settle(self, cpu: int | None, cpus: frozenset[int]) -> bool:
        self.places.append((cpu, cpus))
        return len(self.places) > 1 and self.places[-2] != self.places[-1]


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    """Two threads that only wait; the affinity of every thread is put back."""
    over = threading.Event()
    made = [threading.Thread(target=over.wait, args=(60,)) for _ in range(2)]
    for thread in made:
        thread.start()
    before = {
        thread.native_id: os.sched_getaffinity(thread.native_id)
        for thread in threading.enumerate()
        if thread.native_id is not None
    }
    yield made
    for number, cpus in before.items():
        assert number is not None
        with suppress(ProcessLookupError):  # a thread that another test left has ended
            os.sched_setaffinity(number, cpus)
    over.set()
    for thread in made:
        thread.join(10)


def where(thread: threading.Thread) -> set[int]:
    assert thread.native_id is not None
    return os.sched_getaffinity(thread.native_id)


def test_the_supervisors_threads_keep_to_the_spare_core(threads: list[threading.Thread]) -> None:
    hot, spare = CPUS[:2]
    twins = Topology({cpu: frozenset({hot, spare}) for cpu in (hot, spare)})
    wish = CpuSettings(CpuPolicy.EXCLUSIVE, threads_per_core=2)
    seating = Seating(wish, lambda: twins, lambda: Grant(frozenset({hot, spare}), None))
    child = Child(threads[0])
    seating.keep([child])
    assert child.places == [(hot, frozenset({hot}))]
    assert [where(thread) for thread in threads] == [{spare}, {spare}]
    assert where(threading.main_thread()) == set(CPUS), "it is what the grant is read from"


def test_without_a_spare_core_each_claim_is_made_on_its_childs(
    threads: list[threading.Thread],
) -> None:
    grant = Grant(frozenset(CPUS[:2]), None)
    seating = Seating(CpuSettings(CpuPolicy.EXCLUSIVE), Topology, lambda: grant)
    seating.keep([Child(thread) for thread in threads])
    assert [where(thread) for thread in threads] == [{CPUS[0]}, {CPUS[1]}]


def test_children_follow_the_cores_that_are_granted(threads: list[threading.Thread]) -> None:
    grants = [Grant(frozenset({CPUS[0]}), None)]
    seating = Seating(CpuSettings(CpuPolicy.EXCLUSIVE), Topology, lambda: grants[-1])
    child = Child(threads[0])
    seating.keep([child])
    grants.append(Grant(frozenset({CPUS[1]}), None))
    seating.keep([child])
    assert seating.layout.slots == (CPUS[1],)
    assert child.places[-1] == (CPUS[1], frozenset({CPUS[1]}))
    assert where(threads[0]) == {CPUS[1]}


def test_a_core_plugged_in_while_we_run_is_known_by_its_threads(
    threads: list[threading.Thread],
) -> None:
    """A kernel lists the threads of a core that are plugged in, and no others."""
    hot, late = CPUS[:2]
    alone, both = frozenset({hot}), frozenset({hot, late})
    grants = [Grant(alone, None, alone)]
    machines = [Topology({hot: alone})]
    wish = CpuSettings(CpuPolicy.EXCLUSIVE, threads_per_core=2)
    seating = Seating(wish, lambda: machines[-1], lambda: grants[-1])
    child = Child(threads[0])
    seating.keep([child])
    machines.append(Topology(dict.fromkeys(both, both)))
    grants.append(Grant(both, None, both))
    seating.keep([child])
    assert seating.layout.slots == (hot,)
    assert seating.layout.spare == {late}, "no core for a second child"
    assert "restart" not in seating.layout.sentence
    assert seating.topology.siblings_of(hot) == both


def test_shared_cores_are_left_to_the_kernel(threads: list[threading.Thread]) -> None:
    grant = Grant(frozenset(CPUS), 0.25)
    seating = Seating(CpuSettings(CpuPolicy.SHARED), Topology, lambda: grant)
    child = Child(threads[0])
    seating.keep([child])
    assert child.places == [(None, frozenset(CPUS))]
    assert where(threads[0]) == set(CPUS)
