"""A decoding child with planned faults, for tests: the real one but for what a job asks.

`{"filename": ..., "plan": "die" | "hang" | "fail" | "noop" | "until:<path>" (see `gate`) |
"sleep:<seconds>" | "die-once:<path>" | "keep:<megabytes>"}`.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from image_worker import child, cores, memory, service, settings, wire

LOOK_SECONDS = 0.01
KEPT: list[bytes] = []
"""What leaks."""


def process(raw: bytes, images: settings.ImageSettings) -> wire.Outcome:
    """Carry out the plan, then do the job as the real child does."""
    try:
        payload = json.loads(raw)
    except ValueError:
        return child.process(raw, images)
    plan, _, mark = str(payload.get("plan", "")).partition(":")
    match plan:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die-once":
            try:
                Path(mark).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)
        case "until":
            _held(mark)
        case "fail":
            return wire.Failed("Planned", "as planned")
        case "noop" | "sleep" | "keep":
            return _idled(payload["filename"], plan, mark)
        case _:
            pass
    return child.process(raw, images)


def _held(mark: str) -> None:
    Path(f"{mark}.begun").touch()
    while not Path(mark).exists():
        time.sleep(LOOK_SECONDS)


def _idled(filename: str, plan: str, amount: str) -> wire.Done:
    if plan == "sleep":  # to sleep for no time gives the core away all the same
        time.sleep(float(amount))
    elif plan == "keep":
        KEPT.append(os.urandom(int(amount) << 20))
    return wire.Done(filename, 0, 1, 1, 1)


def main() -> None:
    """Serve as the real child does."""
    service.die_with_parent()
    if "--cpu" in sys.argv:
        cores.pin({int(sys.argv[-1])})
    images = settings.read_images(os.environ)
    memory.go_first()
    with socket.socket(fileno=0) as stream:
        service.serve(stream, lambda raw: process(raw, images))


if __name__ == "__main__":
    main()
