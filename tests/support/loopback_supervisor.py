"""A supervisor whose carriers may fetch from loopback."""

import sys

from image_worker import __main__

if __name__ == "__main__":
    command = (sys.executable, "-m", "support.loopback_carrier")
    sys.exit(__main__.main(child_command=command))
