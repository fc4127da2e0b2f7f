"""Have photos made, push them, follow them to their thumbnails, and fetch what came out.

Knows the producer's verbs; the product and the cluster are there already.
"""

import json
import tarfile
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from demo import recording, view
from demo.cluster import Cluster
from demo.errors import CommandFailed
from demo.follow import Follower, Run
from demo.installation import NAMESPACE, STABILIZATION_SECONDS, Pool
from demo.local import Ground
from demo.objects import PRODUCER
from demo.recording import Recording, Times
from demo.steps import Step, Steps
from demo.terminal import CYAN, DIM

_MAKING_SECONDS = 300
_PHOTOS = 300
_MODULE = ("python", "-m", "demo.producer")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave."""

    times: Times
    thumbnails: Path
    contact_sheet: Path


def make_photos(cluster: Cluster, steps: Steps) -> None:
    """Have the photos made in the volume, with a bar; those of an earlier run are kept."""
    with steps.step(f"Take {_PHOTOS} photos") as step:
        verb = ("exec", "-n", NAMESPACE, PRODUCER, "--", *_MODULE, "generate")
        made = cached = 0
        with cluster.stream(*verb, "--count", str(_PHOTOS)) as process:
            limit = threading.Timer(_MAKING_SECONDS, process.terminate)
            limit.start()
            for line in process.stdout or ():
                made += 1
                cached += json.loads(line).get("cached", False)
                _show_photos(step, steps, made)
            error = process.stderr.read().strip() if process.stderr else ""
            limit.cancel()
        if made < _PHOTOS or process.returncode != 0:
            error = error or f"there are {made} of {_PHOTOS} after {step.seconds:.0f} s"
            raise CommandFailed(f"the photos could not be made: {error}")
        step.result = "there from an earlier run" if cached == _PHOTOS else "6 to 12 megapixels"


def run_photos(cluster: Cluster, steps: Steps, ground: Ground, pool: Pool, today: str) -> Outcome:
    """Push all photos at once and show what follows; keep figures and pictures."""
    terminal = steps.terminal
    terminal.line()
    terminal.line(f"  {_PHOTOS} photos are pushed onto the list, now:")
    terminal.line()
    run = Run(
        namespace=NAMESPACE,
        pool=pool.name,
        producer=PRODUCER,
        photos=_PHOTOS,
        max_replicas=pool.max_replicas,
        stabilization_seconds=STABILIZATION_SECONDS,
    )
    follower = Follower(cluster, terminal, run)
    follower.follow()
    terminal.keep()
    terminal.line()
    record = Recording(
        recorded=today,
        photos=_PHOTOS,
        max_replicas=pool.max_replicas,
        stabilization_seconds=STABILIZATION_SECONDS,
        cpu=pool.cpu,
        times=follower.progress.times,
        samples=follower.samples,
    )
    recording.save(record, ground.demo / "scale-out.json")
    return _fetch(cluster, steps, ground, record.times)


def _fetch(cluster: Cluster, steps: Steps, ground: Ground, times: Times) -> Outcome:
    verb = ("exec", "-n", NAMESPACE, PRODUCER, "--", *_MODULE)
    with steps.step("Verify the thumbnails") as step:
        verdict = json.loads(cluster.run(*verb, "verify", "--count", str(_PHOTOS)))
        step.result = f"{verdict['verified']} JPEGs of the right size, upright"
    with steps.step("Fetch them") as step:
        archive = cluster.read_bytes(*verb, "archive", "--count", str(_PHOTOS))
        thumbnails = ground.demo / "thumbnails"
        step.result = f"{_unpack(archive, thumbnails)} files, {len(archive) / 1e6:.1f} MB"
        sheet = ground.demo / "contact-sheet.jpg"
        sheet.write_bytes(cluster.read_bytes(*verb, "contact-sheet", "--count", str(_PHOTOS)))
    return Outcome(times, thumbnails, sheet)


def _unpack(archive: bytes, folder: Path) -> int:
    """Write an archive's files into a folder by their bare names; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                (folder / Path(member.name).name).write_bytes(file.read())
                count += 1
    return count


def _show_photos(step: Step, steps: Steps, made: int) -> None:
    terminal = steps.terminal
    line = view.bar(made, _PHOTOS, terminal.width - 20)
    figure = terminal.paint(f"{made} of {_PHOTOS}", DIM)
    step.progress("", [f"    {terminal.paint(line, CYAN)} {figure}"])
