"""Choose how the demo's workers get their cores. Pure.

Knows the amounts; not how they are asked for. Whole cores prove one process per core, but a
scale-out is only to be seen where several are free.
"""

from dataclasses import dataclass

CORES_TO_SHOW_A_SCALE_OUT = 4
SHARED_MILLI = 250


@dataclass(frozen=True, slots=True)
class Node:
    """What a node can still give: milli-cores of cpu, and whether its kubelet pins whole cores."""

    name: str
    allocatable: int
    requested: int
    pins: bool | None
    """None when the kubelet's configuration may not be read."""

    def room_for(self, request: int) -> int:
        """Return how many pods of that many milli-cores still fit."""
        return max(0, self.allocatable - self.requested) // request


@dataclass(frozen=True, slots=True)
class Choice:
    """The pool's `spec.cpu`, how many workers of that kind fit, and why."""

    cpu: dict[str, str | int]
    room: int
    because: str


def choose(nodes: tuple[Node, ...]) -> Choice:
    """Return Exclusive where at least four whole cores are free, else a share of a core."""
    cores = sum(node.room_for(1000) for node in nodes if node.pins is not False)
    if cores >= CORES_TO_SHOW_A_SCALE_OUT:
        return Choice(
            {"policy": "Exclusive", "cores": 1},
            cores,
            f"{cores} whole cores are free: one worker process owns one of them",
        )
    found = "1 whole core is" if cores == 1 else f"{cores or 'no'} whole cores are"
    request = f"{SHARED_MILLI}m"
    return Choice(
        {"policy": "Shared", "request": request},
        sum(node.room_for(SHARED_MILLI) for node in nodes),
        f"{found} free, too few to show a scale-out: workers share them ({request} each)",
    )


def milli(quantity: str) -> int:
    """Return a Kubernetes cpu quantity in milli-cores, rounded down: "2" → 2000, "250m" → 250."""
    units = {"n": 1e-6, "u": 1e-3, "m": 1.0}
    if quantity[-1:] in units:
        return int(float(quantity[:-1]) * units[quantity[-1]])
    return int(float(quantity) * 1000)
