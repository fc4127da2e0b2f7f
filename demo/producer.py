"""Be the web application: make photos, push jobs, and see what becomes of them.

Runs in a pod of the worker's image with the pool's volume mounted, so that neither Redis nor a
share must be reachable from outside. Speaks JSON lines on stdout; whoever watches reads those.
Knows the queue as a producer does, by its name, and reads the counters of `docs/protocol.md`.

::

    python -m demo.producer generate | push | run | verify | archive | contact-sheet | idle
"""

import argparse
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import groupby
from multiprocessing import Process
from pathlib import Path
from random import Random

import redis
from PIL import ExifTags, Image

from demo.contact_sheet import compose
from demo.painting import paint
from demo.photos import Photo, plan, take
from demo.scenes import SCENES

_POLL_SECONDS = 0.05
_SAY_SECONDS = 0.5
_REDIS_PATIENCE_SECONDS = 60


def main(words: list[str]) -> int:
    """Run one verb; return the exit code."""
    parser = argparse.ArgumentParser(prog="demo.producer", description=__doc__)
    verbs = {
        "generate": generate,
        "push": push,
        "run": run,
        "verify": verify,
        "archive": archive,
        "contact-sheet": contact_sheet,
        "idle": idle,
    }
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--count", type=int, default=300, help="how many photos")
    parser.add_argument("--within", type=float, default=900, help="seconds before `run` gives up")
    options = parser.parse_args(words)
    return verbs[options.verb](options)


def generate(options: argparse.Namespace) -> int:
    """Make the photos that are not there yet, one process per core; one line for each photo."""
    photos = plan(options.count)
    folder = _input()
    missing = [photo for photo in photos if not (folder / photo.filename).exists()]
    for photo in photos:
        if photo not in missing:
            _say(photo=photo.number, cached=True)
    scenes = [list(group) for _, group in groupby(missing, key=lambda photo: photo.scene)]
    cores = len(os.sched_getaffinity(0))
    processes = [Process(target=_shoot, args=(scenes[i::cores], folder)) for i in range(cores)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def push(options: argparse.Namespace) -> int:
    """Push a job for each photo and return at once, as a web application does."""
    _push(_connect(), plan(options.count))
    _say(event="pushed", jobs=options.count)
    return 0


def run(options: argparse.Namespace) -> int:
    """Push the jobs and report the queue until every one of them is done or dead."""
    photos = plan(options.count)
    output = _output()
    for photo in photos:
        (output / photo.filename).unlink(missing_ok=True)
    queue = _connect()
    before = _counters(queue)
    started = time.monotonic()
    _push(queue, photos)
    _say(event="pushed", t=time.monotonic() - started, jobs=len(photos))
    names = {photo.filename for photo in photos}
    said: dict[str, int] = {}
    said_at = started
    while (now := time.monotonic()) < started + options.within:
        counters = _counters(queue)
        seen = {
            **counters,
            "done": counters["done"] - before["done"],
            "dead": counters["dead"] - before["dead"],
            "thumbnails": sum(file.name in names for file in output.iterdir()),
        }
        over = seen["done"] + seen["dead"] >= len(photos) and not seen["busy"]
        if over or seen != said or now - said_at >= _SAY_SECONDS:
            _say(t=now - started, **seen)
            said, said_at = seen, now
        if over:
            return 0
        time.sleep(_POLL_SECONDS)
    print(f"{options.within:.0f} s have passed and the queue is not drained", file=sys.stderr)
    return 1


def verify(options: argparse.Namespace) -> int:
    """Open every thumbnail: has it the upright photo's size, and nothing left to turn?"""
    longest = int(os.environ.get("WORKERPOOL_THUMBNAIL_PIXELS", "256"))
    photos = plan(options.count)
    problems = [p for photo in photos for p in _problems(photo, _output(), longest)]
    _say(verified=len(photos) - len(problems))
    for problem in problems[:10]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def archive(options: argparse.Namespace) -> int:
    """Write the thumbnails to stdout, as a tar file."""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for photo in plan(options.count):
            tar.add(_output() / photo.filename, photo.filename)
    return 0


def contact_sheet(options: argparse.Namespace) -> int:
    """Write a picture of some thumbnails to stdout, as JPEG."""
    files = [_output() / photo.filename for photo in plan(options.count)]
    sys.stdout.buffer.write(compose([file for file in files if file.exists()]))
    return 0


def idle(_options: argparse.Namespace) -> int:
    """Wait for the end: the pod is there for its verbs to be called."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()


def _shoot(scenes: list[list[Photo]], folder: Path) -> None:
    for photos in scenes:
        number = photos[0].scene
        master = paint(SCENES[number], Random(number))  # noqa: S311 - a picture, not a secret
        for photo in photos:
            draft = folder / f".{photo.filename}.part"
            draft.write_bytes(take(photo, master))
            draft.rename(folder / photo.filename)
            _say(photo=photo.number)


def _push(queue: "redis.Redis", photos: tuple[Photo, ...]) -> None:
    """Push all jobs in one command, as an application does that was given an album."""
    queue.rpush(_queue_name(), *(json.dumps({"filename": photo.filename}) for photo in photos))


def _problems(photo: Photo, folder: Path, longest: int) -> Iterator[str]:
    try:
        with Image.open(folder / photo.filename) as thumbnail:
            thumbnail.load()
            size, turn = thumbnail.size, thumbnail.getexif().get(ExifTags.Base.Orientation, 1)
    except OSError as error:
        yield f"{photo.filename}: {error}"
        return
    expected = photo.thumbnail_size(longest)
    if any(abs(a - b) > 1 for a, b in zip(size, expected, strict=True)) or turn != 1:
        yield f"{photo.filename}: {size} turned {turn}, expected {expected} upright"


def _connect() -> "redis.Redis":
    """Return a connection that answers; Redis may be starting at this very moment."""
    queue = redis.Redis.from_url(
        os.environ["WORKERPOOL_REDIS_URL"],
        username=os.environ.get("WORKERPOOL_REDIS_USERNAME"),
        password=os.environ.get("WORKERPOOL_REDIS_PASSWORD"),
        decode_responses=True,
    )
    deadline = time.monotonic() + _REDIS_PATIENCE_SECONDS
    while True:
        try:
            queue.ping()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"Redis did not answer: {error}") from error
            time.sleep(_POLL_SECONDS)
        else:
            return queue


def _counters(queue: "redis.Redis") -> dict[str, int]:
    name = _queue_name()
    keys = f"{{{name}}}:"
    read = queue.pipeline(transaction=False)
    read.llen(name)
    read.zcard(keys + "inflight")
    read.zcard(keys + "retry")
    read.zcard(keys + "workers")
    read.hmget(keys + "stats", "done", "dead")
    waiting, busy, due, workers, (done, dead) = read.execute()
    return {
        "waiting": waiting,
        "busy": busy,
        "due": due,
        "workers": workers,
        "done": int(done or 0),
        "dead": int(dead or 0),
    }


def _queue_name() -> str:
    return os.environ["WORKERPOOL_QUEUE"]


def _input() -> Path:
    return _folder("WORKERPOOL_INPUT_DIR", "/photos/in")


def _output() -> Path:
    return _folder("WORKERPOOL_OUTPUT_DIR", "/photos/out")


def _folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable, default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _say(**words: object) -> None:
    """Print one line in one write, so that processes that share a pipe do not mix theirs."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
