"""`workerpool status`: what the queue and its workers do."""

import argparse
import json
from dataclasses import replace
from functools import partial

from workerpool_cli import arguments, view
from workerpool_cli.errors import Exit
from workerpool_cli.model import Snapshot
from workerpool_cli.patience import patiently
from workerpool_cli.session import Session, World, opened
from workerpool_cli.words import duration

WATCH_EVERY = "2s"
LEAST_PAUSE_SECONDS = 0.1

DESCRIPTION = """\
Show a queue: what waits, what is in flight, who works, what became of jobs so far.

With POOL, the WorkerPool too: replicas, what the operator decided and why, its conditions.

  waiting    in the list: nobody has claimed it
  due        failed before, or was for later (notBefore); it may start now
  scheduled  failed before, or is for later; its time comes
  in flight  claimed by a worker and not finished
  dead       given up: kept with its reason (workerpool dead)
  done, failed, crashed count since the queue exists; failed and crashed are attempts, not jobs"""

EXAMPLES = f"""\
examples:
  workerpool status --redis-url redis://localhost:6379/0
  workerpool status images -n shop --watch        drawn anew every two seconds
  workerpool status images --over 10s             with rates, measured for 10 seconds
  kubectl workerpool status images --output json | jq .queue.waiting

{arguments.EXIT_CODES}"""


def add(commands: arguments.Subparsers) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        "status",
        help="show a queue, its workers and its pool",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("pool", nargs="?", metavar="POOL", help="a WorkerPool")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--watch",
        nargs="?",
        const=duration(WATCH_EVERY),
        type=arguments.parsed(duration),
        metavar="TIME",
        help=f"look again and again, every TIME (default: {WATCH_EVERY}), until Ctrl-C",
    )
    how.add_argument(
        "--over",
        type=arguments.parsed(duration),
        metavar="TIME",
        help="look twice, TIME apart, and show the rates between",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        help="json: one document (with --watch, one a line)",
    )
    arguments.add_queue(parser, pool_is_positional=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, world: World) -> Exit:
    """Look once, twice, or until interrupted."""
    with opened(options, world) as session:
        session.queue.check()
        before: Snapshot | None = None
        if options.over is not None:
            before = session.queue.snapshot()
            world.pause(options.over.total_seconds())
        if options.watch is None:
            _show(look(session, before), options.output, world)
            return Exit.OK
        now_and_again = session
        while True:
            status = patiently(
                partial(look, now_and_again, before), world.console, world.clock, world.pause
            )
            before = status.snapshot
            _show_again(status, options.output, world)
            world.pause(max(options.watch.total_seconds(), LEAST_PAUSE_SECONDS))
            if session.pool is not None:
                pool = session.kubectl.pool(session.pool.name)
                now_and_again = replace(session, pool=pool)


def look(session: Session, before: Snapshot | None) -> view.Status:
    """Read everything once."""
    snapshot = session.queue.snapshot()
    return view.Status(
        list=session.queue.keys.list,
        where=session.where,
        snapshot=snapshot,
        workers=session.queue.workers(snapshot),
        rates=None if before is None else view.rates_between(before, snapshot),
        pool=session.pool,
    )


def _show(status: view.Status, output: str, world: World) -> None:
    if output == "json":
        world.console.say(json.dumps(view.document(status), indent=2))
        return
    for line in view.lines(status, world.console):
        world.console.say(line)


def _show_again(status: view.Status, output: str, world: World) -> None:
    if output == "json":
        world.console.say(json.dumps(view.document(status)))
    elif world.console.out_is_live:
        world.console.redraw(view.lines(status, world.console)[: world.console.height])
    else:
        world.console.say(view.summary(status))
