"""The worker's loop when time is up, with a queue and a child that do as they are told."""

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, cast

import pytest

from image_worker import telemetry, wire
from image_worker.envelope import Lease
from image_worker.errors import QueueUnavailable
from image_worker.keeper import Keeper
from image_worker.leases import NOTHING_FINISHED, Claim, Leases
from image_worker.stop import Stop
from image_worker.supervisor import declared
from image_worker.worker import Worker

DONE = wire.Done("a.jpg", 1, 2, 3, 4)


class Told:
    """A queue with one job, and a child, that note what they are told."""

    def __init__(self, stop: Stop, answers: list[wire.Answer]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.cpu = None
        self.ready = True
        self._stop = stop
        self._answers = answers
        self.when: dict[str, Callable[[], None]] = {}
        """What happens with the first call of a name."""
        self.worker: Worker | None = None
        self.running: dict[str, str | None] = {}
        """What ran at the last call of a name."""

    def _note(self, name: str, *words: object) -> None:
        self.calls.append((name, *words))
        self.running[name] = None if self.worker is None else self.worker.running
        self.when.pop(name, lambda: None)()

    def time_is_up(self) -> None:
        self._stop.draining.set()
        self._stop.hurried.set()

    def unanswered_until_time_is_up(self) -> None:
        self.time_is_up()
        raise QueueUnavailable("Timeout", "no answer")

    # What a worker needs of Leases.
    def claim(self, worker: str, token: str, **_: object) -> Claim:
        self._note("claim", worker)
        return Claim(acked=False, lease=Lease(token, "id", 0, 0, b"{}"))

    def admit(self, lease: str, *, job_id: str | None, not_before_ms: int | None) -> str:
        assert (lease[-2:], not_before_ms) == ("-0", None)
        self._note("admit", job_id)
        return "go"

    def finish(
        self, finished: tuple[str, int], *, job_id: str, kept: timedelta, result: str
    ) -> bool:
        assert finished != NOTHING_FINISHED
        assert (kept, result) == (timedelta(hours=1), "")
        self._note("finish", job_id)
        return True

    def hand_back(self, lease: str) -> str:
        self._note("hand_back", lease[-2:])
        return "list"

    def withdraw(self, token: str) -> None:
        assert token

    def leave(self, worker: str, finished: tuple[str, int], result: str) -> bool:
        assert worker
        assert result == ""
        self._note("leave", finished)
        return False

    def close(self) -> None:
        pass

    # What it needs of a child.
    def run(self, raw: bytes, timeout: timedelta) -> wire.Answer:
        assert (raw, timeout) == (b"{}", timedelta(seconds=9))
        self._note("run")
        return self._answers.pop(0)

    def go_on(self, raw: bytes, timeout: timedelta) -> wire.Answer:
        assert (raw, timeout) == (b"{}", timedelta(seconds=9))
        self._note("go_on")
        return self._answers.pop(0)


def told(answers: list[wire.Answer], when: str, happens: Callable[[Told], None]) -> list[str]:
    """Run a worker until it has left; return the calls it made, but for the first claim."""
    return told_counting(telemetry.Metrics(), answers, when, happens)


def told_counting(
    metrics: telemetry.Metrics,
    answers: list[wire.Answer],
    when: str,
    happens: Callable[[Told], None],
) -> list[str]:
    """Do so, and count what happens."""
    stop = Stop()
    both = Told(stop, answers)
    both.when[when] = lambda: happens(both)
    worker = Worker(
        leases=cast("Leases", both),
        child=cast("Keeper", both),
        stop=stop,
        job_timeout=timedelta(seconds=9),
        max_attempts=5,
        metrics=declared(metrics),
        health=telemetry.Health(lambda: 0.0),
        clock=lambda: 0.0,
        chance=Random(1),
        ids_kept=timedelta(hours=1),
    )
    both.worker = worker
    worker.start()
    assert worker.join(60), "it did not leave"
    assert both.calls[0][0] == "claim"
    return [" ".join(map(str, call)) for call in both.calls[1:]]


@pytest.mark.parametrize("when", ["claim", "admit"])
def test_a_job_is_not_handed_to_the_successor_of_a_child_that_was_killed_as_time_was_up(
    when: str,
) -> None:
    calls = told([wire.Asks("x", None), DONE], when, Told.time_is_up)
    begun = [] if when == "claim" else ["run", "admit x"]
    assert calls == [*begun, "hand_back -0", f"leave {NOTHING_FINISHED}"]


def test_an_id_is_remembered_also_if_that_is_only_answered_when_the_worker_leaves() -> None:
    calls = told([wire.Asks("x", None), DONE], "finish", Told.unanswered_until_time_is_up)
    asked = ["run", "admit x", "go_on", "finish x"]
    assert calls == [*asked, "finish x", f"leave {NOTHING_FINISHED}"]


def test_a_job_runs_while_a_child_is_at_it_and_not_while_its_end_is_told() -> None:
    seen: list[Told] = []

    def last(both: Told) -> None:
        seen.append(both)
        both.time_is_up()

    told([wire.Asks("x", None), DONE], "finish", last)
    running = {name: lease and lease[-2:] for name, lease in seen[0].running.items()}
    assert running.pop("run") == running.pop("go_on") == "-0"
    assert running == dict.fromkeys(("claim", "admit", "finish", "leave"))


def test_after_an_exception_nobody_foresaw_no_job_counts_as_running() -> None:
    def stumble(both: Told) -> None:
        both.time_is_up()
        raise ZeroDivisionError

    metrics = telemetry.Metrics()
    told_counting(metrics, [], "run", stumble)
    lines = metrics.render().splitlines()
    assert {"image_worker_bugs_total 1", "image_worker_in_flight 0"} <= set(lines)
