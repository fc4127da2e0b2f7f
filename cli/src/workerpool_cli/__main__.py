"""`workerpool`: read the command line, run one command, say what went wrong in words.

The one place that takes clocks, streams, signals and the environment from the process.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from workerpool_cli.arguments import Parser
from workerpool_cli.commands import dead, drain, push, simulate, status
from workerpool_cli.console import Console
from workerpool_cli.errors import CliError, Exit, TimeIsUp
from workerpool_cli.session import World

DESCRIPTION = """\
Work with WorkerPool queues from a terminal: push jobs, watch them, look after dead letters, take
pools out of work. Also runs as `kubectl workerpool`."""

EXAMPLES = """\
examples:
  workerpool push --pool images --wait ./photos    push a folder, wait for the last photo
  workerpool status images --watch                 see the queue, the workers, the pool
  workerpool dead requeue --reason Timeout --since 2h
  workerpool drain images -n shop                  before maintenance
  workerpool simulate jobs.csv --advise 20         which target keeps a p95 wait of 20 s

`workerpool COMMAND --help` explains each command. The queue is found by a pool's name (through
your kubectl), by --redis-url, or by WORKERPOOL_REDIS_URL."""


LEAST_SECONDS = 1e-6
"""To the kernel, none means for ever."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP: leave by the same doors as for Ctrl-C, so that no child stays."""


def main(words: Sequence[str], world: World, program: str = "workerpool") -> int:
    """Run one command; returns the exit code."""
    parser = _parser(program)
    try:
        if next(iter(words), "") == simulate.NAME:
            return simulate.run(words[1:], program)
        options = parser.parse_args(words)
        done: Exit = options.run(options, world)
    except (CliError, TimeIsUp) as error:
        world.console.note(f"{program}: {error}")
        return error.exit
    except KeyboardInterrupt:
        world.console.note(f"{program}: interrupted")
        return Exit.INTERRUPTED
    except Terminated:
        world.console.note(f"{program}: terminated")
        return Exit.TERMINATED
    return done


def run() -> NoReturn:
    """Be the program."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # File names are bytes; what cannot be told of is shown as well as it can be.
            how = "surrogateescape" if stream is sys.stdin else "backslashreplace"
            stream.reconfigure(encoding="utf-8", errors=how)
    world = World(
        environ=os.environ,
        stdin=sys.stdin,
        console=Console(sys.stdout, sys.stderr, os.environ, time.monotonic),
        clock=time.monotonic,
        pause=time.sleep,
        within=_within,
    )
    is_plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    program = "kubectl workerpool" if is_plugin else "workerpool"
    try:
        code = main(sys.argv[1:], world, program)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); nothing more can be said there.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    sys.exit(code)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Parser(prog=program, description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (push, status, dead, drain, simulate):
        command.add(commands)
    return parser


def _version() -> str:
    try:
        return version("workerpool")
    except PackageNotFoundError:
        return "(not installed)"


@contextlib.contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Have the kernel interrupt us: Redis, names and kubectl are waited for in so many places."""
    if seconds is None:
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TimeIsUp(seconds)

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds or LEAST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    run()
