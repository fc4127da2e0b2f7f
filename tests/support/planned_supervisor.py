"""The real supervisor with the children of `planned_child.py`.

A file as argument is a gate: children start only while it is there.
"""

import os
import signal

if __name__ == "__main__":  # as the real one does
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    if os.getpid() != 1:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

import sys
from pathlib import Path

from image_worker.__main__ import main

CHILD = Path(__file__).with_name("planned_child.py")
COMMAND = (sys.executable, __file__)
WAIT = 'while [ ! -e "$1" ]; do sleep 0.02; done; shift; exec "$@"'

if __name__ == "__main__":
    gated = ("/bin/sh", "-c", WAIT, "late", sys.argv[1]) if sys.argv[1:] else ()
    sys.exit(main(child_command=(*gated, sys.executable, str(CHILD))))
