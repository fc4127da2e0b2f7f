"""`storm_child.py <seconds its clock is off> <diary>`: the real decoding child, but for plans.

It notes each run in the diary, and a job's plan may be to `die` or to `fail`.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from image_worker import child, service, settings, wire
from support.chaos.clocks import skew_wall_clock
from support.chaos.diary import Diary


def process(raw: bytes, images: settings.ImageSettings, diary: Diary) -> wire.Outcome:
    """Note, carry out the plan, do the job as the real child does, note."""
    payload = json.loads(raw)
    name, queue = payload["filename"], payload["queue"]
    diary.begun(name, queue, payload.get("due_ms", 0))
    time.sleep(payload["dwell"])
    match payload["plan"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fail":
            return wire.Failed("Planned", "as planned")
        case _:
            pass
    outcome = child.process(raw, images)
    diary.ended(name, queue)
    time.sleep(payload["dwell"])
    return outcome


def main() -> None:
    """Serve as the real child does."""
    service.die_with_parent()
    skew_wall_clock(float(sys.argv[1]))
    diary = Diary(Path(sys.argv[2]))
    images = settings.read_images(os.environ)
    with socket.socket(fileno=0) as stream:
        service.serve(stream, lambda raw: process(raw, images, diary))


if __name__ == "__main__":
    main()
