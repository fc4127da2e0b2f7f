"""A job under a lease, and how it is read from the envelope that the scripts keep it in.

Pure.  An envelope is a line, `id attempts crashes seen why`, and then the payload as it came.
"""

from dataclasses import field

from image_worker.records import record


@record
class Lease:
    """A job that is ours until the lease ends; `name` is the token it was claimed with."""

    name: str
    job_id: str
    attempts: int
    crashes: int
    raw: bytes
    seen_ms: int | None = field(default=None, compare=False)
    """When it was first claimed, by Redis's clock; unknown where no book is kept."""


def opened(name: str, envelope: bytes) -> Lease | None:
    """Read an envelope; None if it is none."""
    line, _, raw = envelope.partition(b"\n")
    try:
        job_id, attempts, crashes, seen = line.split(b" ", 4)[:4]
        numbers = int(attempts), int(crashes)
        return Lease(name, job_id.decode(errors="replace"), *numbers, raw, int(seen))
    except ValueError:
        return None
