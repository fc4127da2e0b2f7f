"""What the children did, in their own words: `+name` when a run begins, `-name` when it ended.

All children append to one file; a line is one short write, so none is cut by another.
"""

import os
from collections import Counter
from pathlib import Path


class Diary:
    """One child's hand in it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def begun(self, name: str) -> None:
        os.write(self._file, f"+{name}\n".encode())

    def ended(self, name: str) -> None:
        os.write(self._file, f"-{name}\n".encode())


def read(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Return how often each job's run began, and how often it came to its end."""
    begun, ended = Counter[str](), Counter[str]()
    for line in path.read_text().splitlines():
        (begun if line[0] == "+" else ended)[line[1:]] += 1
    return begun, ended
