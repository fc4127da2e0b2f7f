"""The jobs of a storm, and what must come of each: a pure function of their number.

Most are photos of several kinds, so that one job's output under another's name is seen.  A few
are planned to be buried: `die` kills its child each time, `fail` fails each time, and `refused`
can never be done.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from image_worker import imaging
from image_worker.decoding import Limits
from image_worker.presets import thumbnail
from support.pictures import encoded, picture

LONGEST_SIDE = 64
SIZES = ((320, 240), (240, 320), (200, 200), (301, 97))
PLANS = {"die": (1999, 498), "fail": (499, 250), "refused": (173, 172)}
"""Of every so many jobs this one is planned to be buried."""
REASONS = {"die": "Poison", "fail": "Planned", "refused": "BadFilename"}
FOLDER_HOLDS = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What is pushed, and what must come of it."""

    payloads: tuple[bytes, ...]
    outputs: dict[str, bytes]
    """Every file that must be there at the end, with its bytes."""
    dead: dict[str, str]
    """Every job that must be buried, with the reason."""


def planned(number: int, folder: Path) -> Plan:
    """Decide each job's fate, and write the photos."""
    photos = [encoded(picture(size), quality=90) for size in SIZES]
    expected = [
        imaging.render(photo, (thumbnail(LONGEST_SIDE),), Limits(pixels=10**6)).renditions[0].data
        for photo in photos
    ]
    payloads: list[bytes] = []
    outputs: dict[str, bytes] = {}
    dead: dict[str, str] = {}
    for job in range(number):
        name = f"{job // FOLDER_HOLDS}/{job}.jpg"
        plan = fate(job)
        if plan == "refused":
            name = f"../{name}"
        else:
            kind = job % len(photos)
            file = folder / "in" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photos[kind])
            if not plan:
                outputs[name] = expected[kind]
        if plan:
            dead[name] = REASONS[plan]
        payload = {"filename": name, "plan": plan, "dwell": dwell_seconds(job)}
        payloads.append(json.dumps(payload).encode())
    return Plan(tuple(payloads), outputs, dead)


def fate(job: int) -> str:
    """Say how a job is planned to be buried; empty if it is to be done."""
    return next((plan for plan, (every, one) in PLANS.items() if job % every == one), "")


def dwell_seconds(job: int) -> float:
    """Say how long a run dwells before its work, and after: or few faults would hit any."""
    return job % 6 * 0.002
