"""What a run left behind, its samples and its times, and the file that keeps it.

Knows no cluster and no clock.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo.view import Snapshot


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the first push; None if it never came to that."""

    first_worker: float | None = None
    first_thumbnail: float | None = None
    all_done: float | None = None
    back_at_zero: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One run from the first push to zero replicas."""

    recorded: str
    """The date, as ISO 8601."""
    photos: int
    max_replicas: int
    stabilization_seconds: int
    cpu: str
    times: Times = field(default_factory=Times)
    samples: Sequence[Snapshot] = ()


def save(recording: Recording, file: Path) -> None:
    """Write a recording as JSON, a sample per line, so that a diff can be read."""
    head = asdict(recording)
    samples = head.pop("samples")
    lines = ",\n".join("  " + json.dumps(sample) for sample in samples)
    text = json.dumps(head, indent=1).removesuffix("\n}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{text},\n "samples": [\n{lines}\n ]\n}}\n')


def load(file: Path) -> Recording:
    """Read a recording; KeyError or TypeError if it is none."""
    words = json.loads(file.read_text())
    words["times"] = Times(**words["times"])
    words["samples"] = tuple(Snapshot(**sample) for sample in words["samples"])
    return Recording(**words)
