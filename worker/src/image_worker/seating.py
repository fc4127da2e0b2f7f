"""Keeps every child on its core and the supervisor's own threads out of the way.

The kernel moves processes when a cpuset changes, and so may an administrator: what is wanted is
compared with what is, once a tick, and put right.  It knows threads and children; it decides
nothing about cores (`cores` does).

The main thread is never bound: what the kernel lets *it* use is the grant.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from image_worker import cores, telemetry
from image_worker.cores import Grant, Layout
from image_worker.machine import Topology
from image_worker.settings import CpuSettings


class Occupant(Protocol):
    """Who has a place: a child, and the thread that claims for it."""

    @property
    def thread_id(self) -> int | None:
        """The kernel's number of the claiming thread, once it runs."""

    def settle(self, cpu: int | None, cpus: frozenset[int]) -> bool:
        """Put the child on its core, or on all of them; returns whether it ran elsewhere."""


class Seating:
    """Who runs where, now and after the cores have changed."""

    def __init__(
        self,
        wish: CpuSettings,
        topology: Callable[[], Topology],
        granted: Callable[[], Grant] = cores.granted,
    ) -> None:
        self._wish = wish
        self._read_topology = topology
        self._granted = granted
        self.grant = granted()
        """As of the last look."""
        self.topology = topology()
        """As of the last change: a CPU that is unplugged is nobody's thread any more."""
        self.layout: Layout = cores.plan(wish, self.grant, self.topology)

    def keep(self, occupants: Sequence[Occupant]) -> None:
        """Take in a change of the grant, and put everybody where he belongs."""
        grant = self._granted()
        if grant != self.grant:
            self.grant = grant
            self.topology = self._read_topology()
            fresh = cores.plan(self._wish, grant, self.topology)
            before, self.layout = self.layout, cores.relaid(fresh, self.layout.slots)
            if self.layout != before:  # else others' cores have changed
                telemetry.log(logging.WARNING, f"the cores have changed: {self.layout.sentence}")
        own = self.layout.spare or grant.cpus
        places = {threading.main_thread().native_id: frozenset[int]()}
        for occupant, cpu in zip(occupants, self.layout.slots, strict=True):
            child_cpus = grant.cpus if cpu is None else frozenset({cpu})
            if occupant.settle(cpu, child_cpus):
                telemetry.log(logging.WARNING, "a child was moved", cpus=sorted(child_cpus))
            # Without a spare core a claim is made where the child is that waits for it, so that
            # it disturbs no other child.
            places[occupant.thread_id] = self.layout.spare or child_cpus
        for thread in threading.enumerate():
            if thread.native_id is not None:
                _bind(thread.native_id, places.get(thread.native_id, own))


def _bind(thread: int, cpus: frozenset[int]) -> None:
    try:
        if cpus and cores.affinity(thread) != cpus:
            cores.pin(cpus, thread)
    except OSError:
        return  # it has just ended, or the cores are just being taken away
