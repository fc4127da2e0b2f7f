"""The worker's error tree.

    WorkerError
    ├── ConfigError        the environment is wrong: said all at once, exit 2
    ├── JobError           about one job, never about the loop
    │   ├── RejectedJob        it can never succeed: bury it at once
    │   └── TransientFailure   it may succeed later: retry with backoff
    └── QueueUnavailable   Redis did not answer as needed: back off, never exit

A `JobError` carries a machine reason (CamelCase, stable, safe as a metric label) and a
sentence for a person.
"""


class WorkerError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(WorkerError):
    """The environment does not describe a worker that could run."""


class JobError(WorkerError):
    """One job did not succeed."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


class RejectedJob(JobError):
    """The job is wrong in itself; no retry can help."""


class TransientFailure(JobError):
    """The world was wrong; a retry may help."""


class QueueUnavailable(WorkerError):
    """Redis is away, loading, read-only, full, or refuses us; `reason` is its own code."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(f"{reason}: {sentence}")
        self.reason = reason
