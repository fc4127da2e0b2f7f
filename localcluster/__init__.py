"""A real Kubernetes on this machine, from Go modules and Debian packages alone.

Knows how to build the programs and the images, and how to start and end the cluster. Knows nothing
of what runs in it, and imports nothing but the standard library: it runs before any virtualenv.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said here, or an old Python shows a syntax error
    sys.exit("localcluster: Python 3.11 or newer is needed; set PYTHON=<its path> for make")
