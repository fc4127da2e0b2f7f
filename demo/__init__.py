"""The first five minutes: `make up` shows photos being worked off by pods that a queue called.

Runs before any virtual environment exists, so it needs the standard library alone; `photos`,
`scenes`, `painting`, `producer` and `contact_sheet` run in a pod of the worker's image, and
`picture` in the virtual environment.
"""

import sys

# Said before any module is read that an older Python could not even parse.
if sys.version_info < (3, 11):  # noqa: UP036 - the machine's Python may be any
    sys.exit("Python 3.11 or newer is needed: `make up PYTHON=/path/to/python3.11`.")
