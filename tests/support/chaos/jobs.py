"""The jobs of a storm, and what must come of each: a pure function of their number.

Most are photos of several kinds, so that one job's output under another's name is seen.  A few
are planned to be buried: `die` kills its child each time, `fail` fails each time, and `refused`
can never be done.  Some have an id and are pushed up to three times, some ask for a later time,
and a fifth is pushed to another queue.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from image_worker import imaging
from image_worker.decoding import Limits
from image_worker.presets import thumbnail
from support.pictures import encoded, picture
from support.queue_state import LIST

SIDE = "queue:urgent"
QUEUES = (LIST, SIDE)
LONGEST_SIDE = 64
SIZES = ((320, 240), (240, 320), (200, 200), (301, 97))
PLANS = {"die": (1999, 498), "fail": (499, 250), "refused": (173, 172)}
"""Of every so many jobs this one is planned to be buried."""
REASONS = {"die": "Poison", "fail": "Planned", "refused": "BadFilename"}
FOLDER_HOLDS = 500
ROUND = 20
FIRST, AT_ONCE, LATER = 3, 4, 19
"""Of every round these are pushed with an id: the same work, again at once, and again later."""
LATER_BY = 196
RIVALS = {"die": (1500, 923), "fail": (140, 23)}
"""Of these the first push is no good, and must not keep the others from being done."""
WAITS = {5: 1.0, 17: 4.0, 24: 8.0}
"""Of every 30 these ask to be begun so many seconds after their push."""


@dataclass(frozen=True, slots=True)
class Job:
    """One push."""

    queue: str
    name: str
    plan: str
    kind: int
    """Which of the photos it is."""
    dwell: float
    id: str | None
    wait: float

    def payload(self, now_ms: int) -> bytes:
        """Write what is pushed at this moment."""
        said: dict[str, object] = {
            "filename": self.name,
            "plan": self.plan,
            "dwell": self.dwell,
            "queue": self.queue,
        }
        if self.id is not None:
            said["id"] = self.id
        if self.wait:
            due_ms = now_ms + round(self.wait * 1000)
            moment = datetime.fromtimestamp(due_ms / 1000, UTC)
            said |= {"notBefore": moment.isoformat(timespec="milliseconds"), "due_ms": due_ms}
        return json.dumps(said).encode()


@dataclass(slots=True)
class Fate:
    """What must come of the jobs of one queue."""

    pushes: int = 0
    outputs: dict[str, bytes] = field(default_factory=dict)
    """Every file that must be there at the end, with its bytes; each is done once."""
    dead: dict[str, str] = field(default_factory=dict)
    """Every job that must be buried, with the reason."""
    rivals: dict[str, str] = field(default_factory=dict)
    """Likewise, unless another with its id was done before: then it is forgotten."""
    ids: set[str] = field(default_factory=set)
    """Those whose work must be done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is pushed in which order, and what must come of it in each queue."""

    jobs: tuple[Job, ...]
    fates: Mapping[str, Fate]

    @property
    def outputs(self) -> dict[str, bytes]:
        """The files of all queues."""
        return {name: data for fate in self.fates.values() for name, data in fate.outputs.items()}


def planned(number: int, folder: Path) -> Plan:
    """Decide each job's fate, and write the photos."""
    photos = [encoded(picture(size), quality=90) for size in SIZES]
    expected = [
        imaging.render(photo, (thumbnail(LONGEST_SIDE),), Limits(pixels=10**6)).renditions[0].data
        for photo in photos
    ]
    jobs = tuple(job(each) for each in range(number))
    for each in jobs:
        if each.plan != "refused":
            file = folder / "in" / each.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(photos[each.kind])
    return Plan(jobs, {queue: _fate(queue, jobs, expected) for queue in QUEUES})


def _fate(queue: str, jobs: Iterable[Job], expected: list[bytes]) -> Fate:
    fate = Fate()
    for each in jobs:
        if each.queue != queue:
            continue
        fate.pushes += 1
        if not each.plan:
            fate.outputs[each.name] = expected[each.kind]
            if each.id is not None:
                fate.ids.add(each.id)
        elif each.id is None:
            fate.dead[each.name] = REASONS[each.plan]
        else:
            fate.rivals[each.name] = REASONS[each.plan]
    return fate


def job(number: int) -> Job:
    """Say what is pushed as the job of this number."""
    first = number - {AT_ONCE: AT_ONCE - FIRST, LATER: LATER_BY}.get(number % ROUND, 0)
    if first < 0:
        first = number  # what this would push again was not pushed before
    with_id = first % ROUND == FIRST
    name = f"{first // FOLDER_HOLDS}/{first}.jpg"
    plan = ""
    if not with_id:
        plan = _one_of(PLANS, number)
    elif first == number:
        plan = _one_of(RIVALS, number)
    if with_id and plan:
        name = f"rivals/{name}"
    elif plan == "refused":
        name = f"../{name}"
    return Job(
        queue=SIDE if first // ROUND % 5 == 1 else LIST,
        name=name,
        plan=plan,
        kind=first % len(SIZES),
        # A run dwells before its work, and after: or few faults would hit any.
        dwell=number % 6 * 0.002,
        id=f"work-{first}" if with_id else None,
        wait=WAITS.get(number % 30, 0.0),
    )


def _one_of(plans: Mapping[str, tuple[int, int]], number: int) -> str:
    return next((plan for plan, (every, one) in plans.items() if number % every == one), "")
