"""From nothing to as many pods as the queue needs, in one step, and back to nothing."""

import io
import json
import re
import time
from pathlib import Path

from PIL import Image, ImageOps

from support.photos import ORIENTATIONS, album, faults_of_thumbnail
from support.product import POOL, THUMBNAIL_PIXELS, Keep, MakePool, PhotoPool
from support.waiting import eventually

JOBS = 200
PER_REPLICA = 50
REPLICAS = 4


def test_200_jobs_at_zero_replicas_make_one_write_and_200_thumbnails(
    make_pool: MakePool, keep: Keep
) -> None:
    pool = make_pool(maxReplicas=8, target={"backlogPerReplica": PER_REPLICA})
    photos = album(JOBS)
    # The check is checked: as stored they are turned, and a viewer shows each as it must be.
    for photo in photos[:ORIENTATIONS]:
        with Image.open(io.BytesIO(photo.jpeg())) as stored:
            assert bool(photo.faults_of(stored)) == (photo.orientation != 1)
            assert photo.faults_of(ImageOps.exif_transpose(stored)) == []
    names = pool.put(photos)
    pool.kubectl.run("wait", f"wp/{POOL}", "-n", pool.namespace, "--for=condition=Ready")
    assert pool.replicas() == 0

    with pool.watch_deployment() as deployment:
        pushed = time.monotonic()
        pool.push(names)
        eventually(lambda: len(pool.thumbnails()) >= JOBS // 10, pool.story, seconds=60)
        keep("scale-out-wide.txt", pool.kubectl.run("get", "wp", "-n", pool.namespace, "-owide"))
        counters = pool.await_done(JOBS)
        pool.await_zero()
        deployment.caught_up()
        sizes = deployment.values("spec", "replicas")
        generations = [generation for _, generation in deployment.values("metadata", "generation")]

    keep(
        "scale-out.json",
        json.dumps({"replicas": [[round(at - pushed, 3), count] for at, count in sizes]}),
    )
    counts = [count for _, count in sizes]
    assert counts[:2] == [0, REPLICAS], f"the first write was not the only one up: {counts}"
    assert counts[-1] == 0
    assert counts == [0, *sorted(counts[1:], reverse=True)], f"never up again: {counts}"
    assert len(generations) == len(counts), f"{generations} writes of the spec for {counts}"

    files = pool.thumbnails()
    assert {file.name for file in files} == set(names)
    faults = [
        fault
        for photo in photos
        for fault in faults_of_thumbnail(photo, _file(files, photo.filename), THUMBNAIL_PIXELS)
    ]
    assert faults == []
    assert counters.done == JOBS, "a job was done twice, or counted wrongly"
    assert {name: counters.stats.get(name, 0) for name in ("failed", "dead", "crashed")} == {
        "failed": 0,
        "dead": 0,
        "crashed": 0,
    }
    _what_people_read(pool, keep)


def _file(files: list[Path], name: str) -> Path:
    return next(file for file in files if file.name == name)


def _what_people_read(pool: PhotoPool, keep: Keep) -> None:
    """`get`, `describe` and the Events tell the story in words."""
    words = ("-n", pool.namespace)
    pool.await_idle()
    eventually(lambda: _scalings(pool)[-1][0] == "Idle", pool.story, every=0.2)
    wide = pool.kubectl.run("get", "wp", *words, "-o", "wide")
    described = pool.kubectl.run("describe", "wp", POOL, *words)
    events = pool.kubectl.run("get", "events", *words, "--sort-by=.metadata.creationTimestamp")
    keep("scale-in-wide.txt", wide)
    keep("describe.txt", described)
    keep("events.txt", events)

    header, row = (line.split() for line in wide.splitlines())
    shown = dict(zip(header, row, strict=False))
    assert shown | {"AGE": "-"} == {
        "NAME": POOL,
        "QUEUE": pool.queue_name,
        "WAITING": "0",
        "BUSY": "0",
        "REPLICAS": "0",
        "DESIRED": "0",
        "READY": "0",
        "REASON": "Idle",
        "AGE": "-",
        "MIN": "0",
        "MAX": "8",
        "DUE": "0",
        "MESSAGE": shown["MESSAGE"],
    }
    conditions = {c["type"]: (c["status"], c["reason"]) for c in pool.status()["conditions"]}
    assert conditions == {
        "Ready": ("True", "Ready"),
        "QueueReachable": ("True", "Connected"),
        "ScalingLimited": ("False", "WithinLimits"),
        "DataLost": ("False", "NoLossSeen"),
        "CPUPinned": ("False", "SharedPolicy"),
        "Isolated": ("False", "SharedPolicy"),
    }
    notes = _scalings(pool)
    up = [note for reason, note in notes if reason == "Backlog" and "from 0 to 4" in note]
    assert len(up) == 1, notes
    assert re.search(r"\b200 waiting\b.* at 50 per replica ask for 4", up[0]), up[0]
    assert re.fullmatch(r"Scaled from \d to 0: no jobs: 0 replicas", notes[-1][1]), notes[-1]
    assert "Scaled from 0 to 4" in described, "describe shows no Events of the pool"


def _scalings(pool: PhotoPool) -> list[tuple[str, str]]:
    """Return the reason and the words of each Event that tells of a change of scale."""
    told = [(str(event["reason"]), str(event["note"])) for event in pool.events()]
    return [(reason, note) for reason, note in told if note.startswith("Scaled ")]
