"""Whose workers, of all queues, run on one core: each queue's survey is told of the others'. Pure.

Surveys of different queues are not of one instant: a core that one pool has left and another got
is no shared one. So a worker counts beside another one only if it was seen after that one came.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import count

from workerpool_operator.evidence import Report, Survey


@dataclass(frozen=True, slots=True)
class _Told:
    """What one queue's workers told last."""

    turn: int
    reports: tuple[Report, ...]
    """Of workers that have a core to themselves."""
    since: dict[str, int]
    """The turn at which each of them was seen first."""


class Neighbours:
    """Remembers the last survey of each queue, by core."""

    def __init__(self) -> None:
        self._turns = count()
        self._told: dict[Hashable, _Told] = {}
        self._sources: dict[tuple[str, int], set[Hashable]] = defaultdict(set)
        """Which queues have workers on a core."""

    def take(self, source: Hashable, survey: Survey) -> Survey:
        """Take in a queue's survey; return it with who is beside its workers."""
        before = self._told.get(source)
        self.drop(source)
        turn, since = next(self._turns), before.since if before else {}
        reports = tuple(r for r in survey.reports if r.core)
        told = _Told(turn, reports, {r.worker: since.get(r.worker, turn) for r in reports})
        beside = {
            other.worker: other
            for report in reports
            if report.core is not None
            for other in self._others(report.core, told.since[report.worker])
            if other.worker not in told.since  # a worker may serve several queues
        }
        self._told[source] = told
        for report in reports:
            if report.core is not None:
                self._sources[report.core].add(source)
        return replace(survey, beside=tuple(beside.values()))

    def drop(self, source: Hashable) -> None:
        """Forget a queue."""
        told = self._told.pop(source, None)
        for report in told.reports if told else ():
            if report.core is not None and (sources := self._sources.get(report.core)):
                sources.discard(source)
                if not sources:
                    del self._sources[report.core]

    def _others(self, core: tuple[str, int], since: int) -> list[Report]:
        """Return whom other queues have told of on that core after that turn."""
        told = (self._told[source] for source in self._sources.get(core, ()))
        return [r for each in told if each.turn > since for r in each.reports if r.core == core]
