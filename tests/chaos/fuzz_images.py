"""Hand damaged image files to a real decoding child, and see whether it lives and stays small.

`make fuzz-images`; a run is repeated by its seed. Ends with 1 if the child died, took too long,
met an exception nobody foresaw, or grew. Prints one JSON line last.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

from image_worker import wire
from image_worker.keeper import Keeper
from support.mutants import healthy, mutant

PRESETS = {
    "still": {"width": 64, "height": 64},
    "filled": {"width": 30, "height": 50, "scale": "fill", "format": "png"},
    "moving": {"width": 32, "height": 32, "format": "webp", "frames": 5},
    "small": {"width": 24, "height": 24, "format": "avif"},
}
JOB = json.dumps({"filename": "a", "presets": sorted(PRESETS), "report": True}).encode()
LONGEST = timedelta(seconds=60)
WARM = 0.2
MAX_GROWTH_MEGABYTES = 64
FORESEEN = {"Done", "NotAnImage", "BrokenImage", "TooManyPixels", "OutOfMemory"}


def resident_megabytes(pid: int | None) -> float:
    """Return what a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def name_of(result: object) -> str:
    """Say in one word what came of a file."""
    if isinstance(result, wire.Rejected | wire.Failed):
        return result.reason
    return type(result).__name__


def main() -> int:
    """Fuzz, report, judge."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = arguments.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    chance, files, counts, deaths = Random(options.seed), healthy(), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        keeper = Keeper(
            None,
            environ=os.environ
            | {
                "WORKERPOOL_INPUT_DIR": str(folder / "in"),
                "WORKERPOOL_OUTPUT_DIR": str(folder / "out"),
                "WORKERPOOL_PRESETS": json.dumps(PRESETS),
            },
            chance=chance,
            on_start=lambda _: None,
            on_death=deaths.append,
        )
        keeper.start()
        assert keeper.wait_ready(30), "the child did not start"
        first, warm = keeper.pid, 0.0
        for number in range(options.files):
            data = mutant(files, Random(options.seed + number))
            (folder / "in" / "a").write_bytes(data)
            word = name_of(keeper.run(JOB, LONGEST))
            counts[word] += 1
            if word not in FORESEEN:
                sys.stdout.write(f"file {number}: {word}\n")
                keeper.wait_ready(30)
            if number == int(options.files * WARM):
                warm = resident_megabytes(keeper.pid)
        end, same = resident_megabytes(keeper.pid), keeper.pid == first
        keeper.stop()
    good = same and set(counts) <= FORESEEN and end - warm <= MAX_GROWTH_MEGABYTES
    result = {
        "fuzz": "images",
        "seed": options.seed,
        "files": options.files,
        "outcomes": dict(counts.most_common()),
        "child_deaths": len(deaths) if not same else 0,
        "rss_megabytes_warm": round(warm, 1),
        "rss_megabytes_end": round(end, 1),
        "good": good,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
