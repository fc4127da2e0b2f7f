"""`python -m image_worker`: read the environment, then supervise.

The one place that takes the clocks, chance and the environment from the process.
"""

import os
import signal

# Before all that takes long. The first process of a container does not get a signal that it
# neither asks for nor blocks: a pod that is told to go while it starts would stay. Any other
# process ends by it at once, as nothing is claimed yet, and there is nothing to wait for. (The
# image's entrypoint blocks both before Python starts, whichever we are.)
if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    if os.getpid() != 1:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

import random
import sys
import time
from collections.abc import Mapping

from image_worker import buckets, settings, telemetry
from image_worker.errors import ConfigError
from image_worker.keeper import CARRIER_COMMAND, CHILD_COMMAND
from image_worker.supervisor import Supervisor


def main(
    environ: Mapping[str, str] = os.environ, child_command: tuple[str, ...] | None = None
) -> int:
    """Run until told to stop; returns the exit code: 0 in good order, 2 for a wrong setting."""
    try:
        read = settings.read(environ)
        settings.with_presets(read.images)  # only the children need them, but we can say why not
        buckets.refuse_without_library(read.images.source, read.images.sink)
        own = CARRIER_COMMAND if read.images.carried else CHILD_COMMAND
        telemetry.log.configure(
            read.log_level, read.log_format, sys.stdout.buffer, wall_clock=time.time
        )
        return Supervisor(
            read,
            environ=environ,
            clock=time.monotonic,
            wall_clock=time.time,
            chance=random.Random(),  # noqa: S311 (jitter, no secrets)
            child_command=child_command or own,
        ).run()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
