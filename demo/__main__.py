"""`python3 -m demo up | down | picture`.

Errors end here, in words; a traceback is shown for what nobody foresaw. The clock's date is read
here.
"""

import argparse
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from demo.down import down
from demo.errors import DemoError
from demo.local import Ground
from demo.recording import load
from demo.steps import Steps
from demo.terminal import RED, Terminal
from demo.up import up

_INTERRUPTED = 130
_PICTURE = Path("docs/pictures/scale-out.svg")


def main(words: list[str]) -> int:
    """Run one verb; return the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="See the product at work.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start a cluster, install, process photos, watch it scale")
    verbs.add_parser("down", help="remove what `up` started")
    verbs.add_parser("picture", help=f"draw the last run into {_PICTURE}")
    verb = parser.parse_args(words).verb
    terminal = Terminal()
    ground = Ground(Path(__file__).resolve().parent.parent)
    try:
        if verb == "up":
            up(ground, Steps(terminal), datetime.now(UTC).date().isoformat())
        elif verb == "down":
            down(ground, Steps(terminal))
        else:
            picture(ground)
    except DemoError as error:
        terminal.line()
        terminal.line(f"  {terminal.paint('Stopped:', RED)} {error}")
        terminal.line()
        return 1
    except BrokenPipeError:
        # Whoever read along has left; without this Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        terminal.line()
        terminal.line("  Interrupted. `make up` goes on from here, `make down` ends it.")
        return _INTERRUPTED
    return 0


def picture(ground: Ground) -> None:
    """Draw the recorded run and keep its figures beside it; needs the virtual environment."""
    try:
        from demo.picture import draw  # noqa: PLC0415 - the other verbs do without matplotlib
    except ImportError as error:
        remedy = "`make venv`, then `.venv/bin/python -m demo picture`"
        raise DemoError(f"the picture needs the virtual environment: {remedy}") from error

    record = ground.demo / "scale-out.json"
    if not record.exists():
        raise DemoError(f"there is no {record}; run `make up` first")
    target = ground.checkout / _PICTURE
    draw(load(record), target)
    shutil.copyfile(record, target.with_suffix(".json"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
