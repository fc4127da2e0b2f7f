"""The real supervisor with the children of `planned_child.py`."""

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

if __name__ == "__main__":
    sys.exit(main(child_command=(sys.executable, str(CHILD))))
