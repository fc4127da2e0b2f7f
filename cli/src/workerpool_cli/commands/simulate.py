"""`workerpool simulate`: hand the command line to the simulator, if it is installed.

The simulator brings the operator's own decision and much that a terminal does not need, so it is
a distribution of its own, found by its entry point; this package never imports it by name.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points

from workerpool_cli import arguments
from workerpool_cli.errors import CliError

NAME = "simulate"


def add(commands: arguments.Subparsers) -> None:
    """List it among the commands; the simulator reads its command line itself."""
    commands.add_parser(NAME, help="replay traffic, compare policies, get a recommendation")


def run(words: Sequence[str], program: str) -> int:
    """Run the simulator; returns its exit code.

    Raises:
        CliError: it is not installed.
    """
    found = [e for e in entry_points(group="workerpool.commands") if e.name == NAME]
    if not found:
        raise CliError(
            "the simulator is not installed: pip install 'workerpool[simulate]', or install the "
            "folder simulator/ of the repository beside operator/",
        )
    code: int = found[0].load()(words, f"{program} {NAME}")
    return code
