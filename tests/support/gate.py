"""A job that is at work until it is let go, however long that takes.

It needs the children of `planned_child.py`, and knows nothing of queues.

    gate = Gate(tmp_path)
    queue.push(json.dumps({"filename": "a.jpg", "plan": gate.plan}))
    gate.await_begun()    # a child has it
    gate.open()           # it ends, and any later run of it ends by itself
"""

from pathlib import Path

from support.waiting import eventually


class Gate:
    """Two files: the one that a child makes when it begins, and the one that it waits for."""

    def __init__(self, folder: Path) -> None:
        self._open = folder / "open"
        self._begun = folder / "open.begun"

    @property
    def plan(self) -> str:
        """What to write into the job."""
        return f"until:{self._open}"

    def await_begun(self) -> None:
        eventually(self._begun.exists, "the job to run")

    def open(self) -> None:
        """Let it go."""
        self._open.touch()
