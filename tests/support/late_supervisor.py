"""The real supervisor with children that start only while a file is there: its argument."""

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
    late = ("/bin/sh", "-c", WAIT, "late", sys.argv[1])
    sys.exit(main(child_command=(*late, sys.executable, str(CHILD))))
