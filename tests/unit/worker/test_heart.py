"""What a heartbeat says of leases that Redis does not know any more."""

import io
import threading
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from image_worker import telemetry
from image_worker.heart import Heart
from image_worker.leases import Beat
from image_worker.settings import LogFormat
from image_worker.supervisor import declared


class Forgetful:
    """A queue that knows no lease."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def beat(self, _: list[str], leases: list[str]) -> Beat:
        return Beat(now_ms=0, lost=tuple(leases), expired_leases=0, expired_workers=())

    def server_started_ms(self, _: int) -> None:
        return None

    def record(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.left.set()


@pytest.mark.parametrize("running", ["w-0", None])
def test_a_lost_lease_is_told_of_if_its_job_runs_and_not_if_its_end_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch, running: str | None
) -> None:
    written, log = io.BytesIO(), telemetry.Log()
    log.configure("WARNING", LogFormat.JSON, written, wall_clock=lambda: 0.0)
    monkeypatch.setattr(telemetry, "log", log)
    queue, worker = Forgetful(), SimpleNamespace(id="w", running=running)
    beaten = threading.Event()

    def describe(_: object) -> dict[str, str]:
        beaten.set()
        return {}

    parts: dict[str, Any] = {"leases": queue, "workers": [worker], "held": lambda _: "w-0"}
    heart = Heart(
        **parts,
        lease=timedelta(seconds=30),
        perhaps=lambda _: (),
        describe=describe,
        metrics=declared(telemetry.Metrics()),
        health=telemetry.Health(lambda: 0.0),
        chance=Random(1),
        queue="q",
    )
    heart.start()
    assert beaten.wait(60)
    heart.stop(60)
    assert queue.left.is_set(), "the heart has ended"
    assert written.getvalue().count(b"was lost to other workers") == (1 if running else 0)
