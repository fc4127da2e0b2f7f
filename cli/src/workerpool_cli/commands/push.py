"""`workerpool push`: jobs onto the list, and, if asked, to their end."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from workerpool_cli import arguments, jobs
from workerpool_cli.errors import Exit, RedisTrouble, TimeIsUp, UsageError
from workerpool_cli.lookout import Lookout, Sighting
from workerpool_cli.patience import patiently
from workerpool_cli.queues import Queue
from workerpool_cli.session import World, opened
from workerpool_cli.words import count, duration, printable

BATCH_JOBS = 500
BATCH_BYTES = 1 << 20
LEAST_PAUSE_SECONDS = 0.25
PAUSE_PER_LOOK = 10
"""Times as long as a look took: watching must not become work for Redis."""
NAMED = 3
"""Unfinished jobs that are named; a number says the rest."""
NAMED_WIDTH = 60

DESCRIPTION = """\
Push jobs onto a queue.

A FILE becomes the job {"filename": "NAME"}, where NAME is its path relative to --root (default:
the current folder). A FOLDER stands for all files below it, with names relative to --root
(default: that folder); hidden files and links to folders are left out. - reads the standard
input: a name, or a job as a JSON object, on each line. Only names are pushed, never files: the
workers must find the same names in their own input folder.

--wait stays until each of these jobs is done or dead, and says how many are dead. Jobs are
recognised by their bytes, because a plain list gives them no other name: if somebody else pushes
the very same jobs, theirs are waited for, too. A dead letter that is dropped meanwhile counts
as done."""

EXAMPLES = """\
examples:
  workerpool push a.jpg b.jpg                      two photos of the current folder
  workerpool push --wait ./photos                  a folder, until its last photo is done
  workerpool push --root /mnt/photos /mnt/photos/2026/05 --match '*.jpg'
  workerpool push --pool images -n shop --names 2026/05/a.jpg
  find . -name '*.png' | workerpool push --set preset=web -
  workerpool push --job '{"filename": "a.jpg", "preset": "web"}'

exit codes:
  0 pushed (with --wait: all are done)   1 it did not work   2 wrong command line
  3 --wait: some jobs are dead   4 --timeout passed   130 interrupted"""


def add(commands: arguments.Subparsers) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        "push", help="push jobs onto a queue", description=DESCRIPTION, epilog=EXAMPLES
    )
    parser.add_argument("paths", nargs="*", metavar="FILE|FOLDER|-", help="what to push")
    parser.add_argument("--job", action="append", default=[], metavar="JSON", help="a whole job")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="fields",
        type=arguments.parsed(jobs.field),
        metavar="KEY=VALUE",
        help='a field for every job; a VALUE that is JSON (3, true, [1], "3") is taken as JSON',
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="the folder that is the workers' input folder"
    )
    parser.add_argument(
        "--match", metavar="GLOB", help="in folders, only files with such names ('*.jpg')"
    )
    parser.add_argument(
        "--names", action="store_true", help="push the names as they are, without looking here"
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait until these jobs are done or dead"
    )
    parser.add_argument(
        "--timeout",
        type=arguments.parsed(duration),
        metavar="TIME",
        help="with --wait: how long in all, the pushing too, like 90s or 2h (default: for ever)",
    )
    arguments.add_queue(parser, pool_is_positional=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, world: World) -> Exit:
    """Push, and wait if asked."""
    if not options.paths and not options.job:
        raise UsageError("what shall be pushed? Name files or folders, or - for the input")
    if options.timeout is not None and not options.wait:
        raise UsageError("--timeout is for --wait")
    source = jobs.Source(
        paths=options.paths,
        jobs=options.job,
        fields=dict(options.fields),
        root=options.root,
        match=options.match,
        names=options.names,
    )
    made: Iterable[bytes] = jobs.made(source, world.stdin)
    total = None
    if jobs.STDIN not in options.paths:
        # Every mistake in the names is found before the first job is pushed.
        made = list(made)
        total = len(made)
    seconds = options.timeout.total_seconds() if options.timeout is not None else None
    untold = "nothing was pushed"
    try:
        with world.within(seconds), opened(options, world) as session:
            session.queue.check()
            since_ms = session.queue.now_ms()
            pushed: Counter[bytes] = Counter()
            untold = ""
            _push(made, total, pushed if options.wait else None, session.queue, world)
            if not options.wait or not pushed:
                return Exit.OK
            return _wait(Lookout(session.queue, pushed, since_ms), session.queue, world)
    except TimeIsUp as up:
        raise up.telling(untold) from up


def _push(
    made: Iterable[bytes],
    total: int | None,
    remembered: Counter[bytes] | None,
    queue: Queue,
    world: World,
) -> None:
    """Push in batches that arrive whole or not at all; say how far it came, whatever happens."""
    pushed, length = 0, None
    on_its_way = 0
    try:
        for batch in batches(made):
            on_its_way = len(batch)
            length = queue.push(batch)
            on_its_way = 0
            pushed += len(batch)
            if remembered is not None:
                remembered.update(batch)
            of = f" of {total:,}" if total is not None else ""
            world.console.progress(f"{pushed:,}{of} pushed", pushed, total)
    except BaseException as error:
        refused = isinstance(error, RedisTrouble) and error.answered
        unknown = f"; whether the next {on_its_way:,} arrived is unknown"
        doubt = unknown if on_its_way and not refused else ""
        world.console.note(f"{count(pushed, 'job')} pushed before it stopped{doubt}")
        raise
    if length is None:
        world.console.note("there was nothing to push")
        return
    world.console.say(
        f"{count(pushed, 'job')} pushed to {queue.keys.list}; {length:,} waiting now"
    )


def batches(made: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Gather jobs up to a number and a size that one command carries well."""
    batch: list[bytes] = []
    size = 0
    for job in made:
        batch.append(job)
        size += len(job)
        if len(batch) == BATCH_JOBS or size >= BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def _wait(lookout: Lookout, queue: Queue, world: World) -> Exit:
    """Watch the jobs until they ended; whatever comes between says which did not."""
    ask = partial(patiently, console=world.console, clock=world.clock, pause=world.pause)
    seen_at, workers = world.clock(), None
    try:
        while True:
            started = world.clock()
            sighting = ask(lookout.look)
            if sighting.is_over:
                return _report(sighting, queue, world)
            seen_at = world.clock()
            workers = ask(queue.snapshot).live_workers
            words = _words(sighting, workers)
            world.console.progress(words, sighting.ended, sighting.ended + _left(sighting))
            took = world.clock() - started
            world.pause(max(LEAST_PAUSE_SECONDS, PAUSE_PER_LOOK * took))
    except TimeIsUp as up:
        raise up.telling(_unfinished(lookout.last, workers, world.clock() - seen_at)) from up
    except RedisTrouble:
        world.console.note(_unfinished(lookout.last, workers, world.clock() - seen_at))
        raise


def _report(sighting: Sighting, queue: Queue, world: World) -> Exit:
    world.console.say(f"{count(sighting.done, 'job')} done, {sighting.dead:,} dead")
    if not sighting.dead:
        return Exit.OK
    world.console.note(f"why: `workerpool dead list --queue {queue.keys.list}`")
    return Exit.DEAD


def _left(sighting: Sighting) -> int:
    return sighting.waiting + sighting.in_flight + sighting.retrying


def _unfinished(sighting: Sighting, workers: int | None, seconds: float) -> str:
    """Say what was left when Redis was last heard."""
    some = ", ".join(printable(job, NAMED_WIDTH) for job in islice(sighting.left, NAMED))
    more = ", …" if len(sighting.left) > NAMED else ""
    named = f" ({some}{more})" if some else ""
    return f"{_words(sighting, workers)}, as seen {seconds:.1f} s ago{named}"


def _words(sighting: Sighting, workers: int | None) -> str:
    counts = (
        (sighting.dead, "dead"),
        (sighting.in_flight, "in flight"),
        (sighting.retrying, "to be retried"),
        (sighting.waiting, "waiting"),
    )
    words = [f"{sighting.done:,} done", *(f"{n:,} {what}" for n, what in counts if n)]
    return ", ".join(words) + ("; no worker runs" if workers == 0 else "")
