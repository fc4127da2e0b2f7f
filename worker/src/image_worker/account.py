"""What a worker tells of its jobs: counters, seconds, log lines.

It knows the names of the metrics and the words of the log; it decides nothing, and nothing of it
can fail or wait.
"""

import logging
from dataclasses import dataclass

from image_worker import telemetry, wire
from image_worker.envelope import Lease
from image_worker.verdict import Action, Verdict

DONE = "the thumbnail is in place"
SET_ASIDE = {
    "early": "it asks for a later time, and waits for that",
    "twin": "another job with its id is being done; it waits for what comes of that",
    "duplicate": "a job with its id was done; it is forgotten",
    "away": "its queue does not answer; it is handed back when it does",
    "lost": "before it was begun it was ours no more: others have it, or it waits as it asked",
}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A job that was not begun: it comes too early, or somebody else does or did it."""

    word: str


class Account:
    """Of one worker, on one core."""

    def __init__(self, metrics: telemetry.Metrics, cpu: int | None) -> None:
        self._metrics = metrics
        self._done = metrics.series("image_worker_jobs_total", outcome="done")
        self._running = metrics.series("image_worker_in_flight")
        self._seconds = metrics.histogram("image_worker_job_seconds")
        self._waits = metrics.histogram("image_worker_wait_seconds")
        self._busy_on: dict[str, telemetry.Series] = {}
        self.move(cpu)

    def move(self, cpu: int | None) -> None:
        """Count busy seconds for this core from now on."""
        label = "any" if cpu is None else str(cpu)
        if label not in self._busy_on:
            self._busy_on[label] = self._metrics.series(
                "image_worker_busy_seconds_total", cpu=label
            )
        self._busy = self._busy_on[label]

    def began(self) -> None:
        """Tell that a job runs."""
        self._running.value = 1

    def stumbled(self) -> None:
        """Tell that no job runs any more, and that nobody knows why."""
        self._running.value = 0
        self._metrics.add("image_worker_bugs_total")

    def set_aside(self, lease: Lease, aside: SetAside) -> None:
        """Tell of a job that began, but was not to be done."""
        self._running.value = 0
        self._metrics.add("image_worker_jobs_total", outcome=aside.word)
        telemetry.log(
            logging.INFO,
            SET_ASIDE[aside.word],
            job=lease.job_id,
            lease=lease.name,
            outcome=aside.word,
        )

    def done(self, lease: Lease, result: wire.Done, seconds: float) -> None:
        """Tell of a job whose renditions are in place."""
        self._ended(seconds)
        self._done.value += 1
        if result.pushed_ms is not None and lease.seen_ms is not None:
            # Clocks of producers may be ahead of Redis's.
            self._waits.observe(max(0, lease.seen_ms - result.pushed_ms) / 1000)
        telemetry.log(
            logging.INFO,
            DONE,
            job=lease.job_id,
            lease=lease.name,
            outcome="done",
            filename=result.filename,
            milliseconds=result.milliseconds,
            width=result.width,
            height=result.height,
            bytes=result.output_bytes,
        )

    def undone(self, lease: Lease, verdict: Verdict, seconds: float, settled: str) -> None:
        """Tell of a job that was not done, and what the queue made of it."""
        self._ended(seconds)
        self._metrics.add("image_worker_jobs_total", outcome=verdict.outcome)
        telemetry.log(
            logging.INFO if verdict.action is Action.RELEASE else logging.WARNING,
            verdict.sentence,
            job=lease.job_id,
            lease=lease.name,
            outcome=verdict.outcome,
            reason=verdict.reason,
            settled=settled,
        )

    def refused(self, jobs: int) -> None:
        """Tell of jobs that the queue buried itself: none of them was sent, for their length."""
        self._metrics.add("image_worker_jobs_total", jobs, outcome="rejected")
        telemetry.log(
            logging.WARNING,
            "the queue buried jobs that are longer than a worker takes",
            jobs=jobs,
            outcome="rejected",
            reason="PayloadTooLarge",
        )

    def lost(self, lease: str) -> None:
        """Tell of a job that was done, but not by us alone."""
        self._metrics.add("image_worker_leases_lost_total")
        telemetry.log(
            logging.WARNING,
            "a finished job was no longer ours; another worker does it too",
            lease=lease,
        )

    def _ended(self, seconds: float) -> None:
        self._running.value = 0
        self._busy.value += seconds
        self._seconds.observe(seconds)
