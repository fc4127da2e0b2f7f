"""What a queue's past teaches: how fast jobs arrive, how long one takes, how long they wait.

Pure. Readings go in one after the other; unknown stays unknown until something was seen. Both
figures are made to shrug at what should not move a fleet:

- One batch is no rate. Arrivals are counted in buckets of `BUCKET`, and the rate is the median
  of the last `BUCKETS`: a burst fills one or two of them, silence empties them one by one.
- One slow job is no trend. The mean job time is a plain mean at first and then moves with a
  half-life of `HALF_LIFE_JOBS` jobs; no reading counts as more than `OUTLIER` times, or less
  than that part of, what is known.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from workerpool_operator.model import Backlog, Loss, Pace

BUCKET = timedelta(seconds=5)
BUCKETS = 12
HALF_LIFE_JOBS = 100
"""Fewer make the mean tremble with every slow job, and a window keeps each tremble's peak."""
OUTLIER = 5.0
ARRIVALS_KEPT = 64
"""Marks kept to tell a waiting job's age; beyond it, neighbours merge into the older one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How many jobs had arrived by an instant, since the first reading."""

    at: datetime
    arrived: int


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of one queue so far; the empty one knows nothing."""

    job_seconds: float | None = None
    """Mean time one job keeps one worker busy."""
    jobs: int = 0
    """How many jobs that mean has seen."""
    arrived: int = 0
    """Jobs that arrived since the first reading."""
    bucket_at: datetime | None = None
    """When the newest bucket began."""
    buckets: tuple[int, ...] = ()
    """Arrivals per `BUCKET`, oldest first; the last one is still being filled."""
    marks: tuple[Mark, ...] = ()
    """When jobs arrived, oldest first; those that cannot wait any more are dropped."""
    last: Backlog | None = None
    loss: Loss | None = None
    """The last time Redis came back without the jobs it had."""

    def pace(self, at: datetime) -> Pace:
        """Return what may be decided upon at `at`."""
        full = self.buckets[:-1]
        rate = median(full) / BUCKET.total_seconds() if len(full) >= BUCKETS // 2 else None
        oldest = self.marks[0].at if self.marks else None
        return Pace(
            arrivals_per_second=rate,
            job=timedelta(seconds=self.job_seconds) if self.job_seconds else None,
            oldest_wait=max(timedelta(), at - oldest) if oldest else None,
        )


NOTHING = Learnt()


def learn(learnt: Learnt, at: datetime, backlog: Backlog) -> Learnt:
    """Return what is known after a reading of `backlog` at `at`."""
    before = learnt.last
    if before is None or not _continues(before, backlog) or _loss(before, at, backlog):
        # The first reading, or another life of the queue: old jobs have unknown ages.
        marks = (Mark(at, backlog.waiting),) if backlog.waiting else ()
        return Learnt(
            job_seconds=learnt.job_seconds,
            jobs=learnt.jobs,
            arrived=backlog.waiting,
            bucket_at=at,
            buckets=(0,),
            marks=marks,
            last=backlog,
            loss=_loss(before, at, backlog) or learnt.loss,
        )
    finished = backlog.finished - before.finished
    arrivals = max(0, backlog.known + finished - before.known)
    learnt = _fill(learnt, at, arrivals)
    learnt = _mark(learnt, at, arrivals, backlog)
    return replace(_time_jobs(learnt, before, backlog), last=backlog)


def _loss(before: Backlog | None, at: datetime, backlog: Backlog) -> Loss | None:
    """Tell a list that vanished with its server's memory from one that was worked off.

    Another run of the server knows of fewer jobs than the last one, those that were finished
    counted in: it has forgotten all, or began with an older copy.
    """
    if before is None or not before.server or before.server == backlog.server:
        return None
    if not backlog.server:
        return None
    if backlog.known and not (before.finished or before.in_flight):
        return None  # where nobody keeps counters, jobs that were done look like lost ones
    gone = before.known + before.finished - backlog.known - backlog.finished
    lost = min(before.known, gone)
    return Loss(at, lost) if lost > 0 else None


def _continues(before: Backlog, backlog: Backlog) -> bool:
    """Return whether the counters went on, rather than started anew."""
    return (
        backlog.done >= before.done
        and backlog.buried >= before.buried
        and backlog.busy >= before.busy
    )


def _fill(learnt: Learnt, at: datetime, arrivals: int) -> Learnt:
    """Count `arrivals` into the bucket of `at`, opening empty ones for the silence before."""
    assert learnt.bucket_at is not None  # noqa: S101  there was a first reading
    passed = max(0, (at - learnt.bucket_at) // BUCKET)
    buckets = (*learnt.buckets, *[0] * min(passed, BUCKETS + 1))[-(BUCKETS + 1) :]
    return replace(
        learnt,
        arrived=learnt.arrived + arrivals,
        bucket_at=learnt.bucket_at + passed * BUCKET,
        buckets=(*buckets[:-1], buckets[-1] + arrivals),
    )


def _mark(learnt: Learnt, at: datetime, arrivals: int, backlog: Backlog) -> Learnt:
    """Note when jobs came, and forget those whose turn has come: the list is first in, first out.

    Of the jobs that arrived, all but the last `waiting` have left the list.
    """
    marks = [*learnt.marks, Mark(at, learnt.arrived)] if arrivals else list(learnt.marks)
    left = learnt.arrived - backlog.waiting
    marks = [mark for mark in marks if mark.arrived > left]
    if backlog.waiting and not marks:  # handed back: it waits from now on, as far as is known
        marks = [Mark(at, learnt.arrived)]
    while len(marks) > ARRIVALS_KEPT:
        odd = marks[len(marks) // 2 * 2 :]
        pairs = zip(marks[::2], marks[1::2], strict=False)
        marks = [replace(b, at=a.at) for a, b in pairs] + odd
    return replace(learnt, marks=tuple(marks))


def _time_jobs(learnt: Learnt, before: Backlog, backlog: Backlog) -> Learnt:
    """Take the jobs done between two readings into the mean job time.

    An exponentially weighted mean by jobs, not by time: idle hours teach nothing. As long as few
    jobs were seen each counts alike, so that the first one is not believed for long.
    """
    jobs = backlog.done - before.done
    if jobs <= 0:
        return learnt
    seconds = (backlog.busy - before.busy).total_seconds() / jobs
    known, seen = learnt.job_seconds, learnt.jobs + jobs
    if known:
        seconds = min(max(seconds, known / OUTLIER), known * OUTLIER)
        weight: float = max(jobs / seen, 1 - 0.5 ** (jobs / HALF_LIFE_JOBS))
        seconds = known + (seconds - known) * weight
    return replace(learnt, job_seconds=seconds, jobs=seen)
