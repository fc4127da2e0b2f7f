"""Kill, stop and cut everything at random while 20,000 jobs are done; lose nothing.

    make chaos                 another storm each time
    make chaos SEED=7          the same faults again
    make chaos JOBS=5000 FAULTS=100

Prints the seed first and a JSON line last; ends with 1 if any promise was broken.
"""

import argparse
import json
import secrets
import sys
import tempfile
from pathlib import Path

from support.chaos.run import run


def main() -> int:
    """Storm, report, judge."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--SEED", dest="seed", type=int, default=secrets.randbits(31))
    arguments.add_argument("--JOBS", dest="jobs", type=int, default=20_000)
    arguments.add_argument("--FAULTS", dest="faults", type=int, default=300)
    options = arguments.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), seed=options.seed, jobs=options.jobs, faults=options.faults)
    for problem in outcome.problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(json.dumps({**outcome.figures, "good": not outcome.problems}) + "\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
