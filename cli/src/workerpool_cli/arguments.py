"""What several commands' command lines have in common."""

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from workerpool_cli.errors import UsageError

T = TypeVar("T")
Subparsers = Any  # argparse names this type privately

EXIT_CODES = """\
exit codes:
  0 it is done   1 it did not work   2 wrong command line   130 interrupted"""


class Parser(argparse.ArgumentParser):
    """A parser that keeps the line breaks of its examples, and never guesses options."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)


def parsed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse report what `parse` refuses."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is no whole number of at least 1")
    return int(text)


def add_queue(parser: argparse.ArgumentParser, *, pool_is_positional: bool) -> None:
    """Add the options that find a queue."""
    group = parser.add_argument_group(
        "which queue",
        "A pool is looked up with kubectl: its list, its Redis and its Secret. If that Redis\n"
        "is a service of the cluster, a port-forward is kept open meanwhile.",
    )
    if not pool_is_positional:
        group.add_argument(
            "--pool", metavar="NAME", help="take list and Redis from this WorkerPool"
        )
    group.add_argument(
        "--queue",
        metavar="LIST",
        help="name of the Redis list (default: the pool's, $WORKERPOOL_QUEUE, or queue:images)",
    )
    group.add_argument(
        "--redis-url",
        metavar="URL",
        help="redis://host[:port][/db], or rediss:// for TLS (default: the pool's, or "
        "$WORKERPOOL_REDIS_URL; credentials from the pool's Secret, or from "
        "$WORKERPOOL_REDIS_USERNAME and $WORKERPOOL_REDIS_PASSWORD)",
    )
    add_cluster(parser)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that point kubectl to a cluster."""
    group = parser.add_argument_group("which cluster (passed on to kubectl)")
    group.add_argument("-n", "--namespace", metavar="NS", help="namespace of the pool")
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    group.add_argument("--kubeconfig", metavar="FILE", help="another kubeconfig")
