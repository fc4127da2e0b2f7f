"""How a supervisor's end is told to its threads."""

import threading


class Stop:
    """Two words: end in good order, and end now."""

    def __init__(self) -> None:
        self.draining = threading.Event()
        """Claim nothing more; finish what runs."""
        self.hurried = threading.Event()
        """Time is up: children are killed, jobs handed back, answers not waited for."""
