"""Render files with ever more memory, each time in a process of its own; say what came of it.

`python -m support.scarce` reads lines of `FILE FORM FRAMES MEGABYTES...`, and answers each with
one word per amount. Each is rendered by a child of one that has only imported, because a process
that has worked before has memory of its own to give.
"""

import os
import sys
from pathlib import Path

from image_worker import memory
from image_worker.decoding import Limits
from image_worker.errors import RejectedJob
from image_worker.imaging import render
from image_worker.presets import Form, Preset

SIDE = 750


def outcome(file: Path, preset: Preset, megabytes: int) -> str:
    """Render with so much memory left."""
    data = file.read_bytes()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    memory.limit(taken + (megabytes << 20))
    try:
        render(data, [preset], Limits(10**8, memory.room))
    except MemoryError:
        return "OutOfMemory"
    except RejectedJob as error:
        return f"{error.reason}:{error.sentence}".replace(" ", "_")
    return "Rendered"


def alone(file: Path, preset: Preset, megabytes: int) -> str:
    """Do it in a child, which may die of it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, outcome(file, preset, megabytes).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read().decode()
    status = os.waitpid(pid, 0)[1]
    return answer if status == 0 else f"signal-{os.WTERMSIG(status)}"


def main() -> None:
    """Try each amount with each file."""
    for line in sys.stdin:
        file, form, frames, *amounts = line.split()
        preset = Preset("a", SIDE, SIDE, form=Form(form), frames=int(frames))
        words = [alone(Path(file), preset, int(megabytes)) for megabytes in amounts]
        sys.stdout.write(" ".join(words) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
