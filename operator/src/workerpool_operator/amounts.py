"""What pods take and nodes give, as the scheduler counts it. Pure.

Knows Kubernetes' quantities and how a PodSpec's requests add up; neither nodes nor pools.
"""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


class Amount(NamedTuple):
    """What a pod takes or a node gives."""

    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""
    pods: int = 1

    def plus(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Amount") -> "Amount":
        """Return what is left."""
        return Amount(*(a - b for a, b in zip(self, other, strict=True)))

    def times(self, count: int) -> "Amount":
        """Return so many of it."""
        return Amount(*(count * part for part in self))

    def largest(self, other: "Amount") -> "Amount":
        """Return the larger of each."""
        return Amount(*map(max, self, other))

    def holds(self, one: "Amount") -> int:
        """Return how often `one` fits."""
        times = (have // want for have, want in zip(self, one, strict=True) if want > 0)
        return max(0, min(times, default=0))


NOTHING = Amount(0, 0, 0)


def quantity(text: object) -> Decimal:
    """Return what a Kubernetes quantity stands for.

    Raises:
        ValueError: it is none.
    """
    digits = str(text).strip()
    number = digits.rstrip("numkKMGTPEi")
    unit = digits[len(number) :]
    if unit == "E" and not number:
        raise ValueError(f"{text!r} is no quantity")
    try:
        return Decimal(number) * _UNITS[unit]
    except (InvalidOperation, KeyError) as error:
        raise ValueError(f"{text!r} is no quantity") from error


def allocatable(given: Mapping[str, Any]) -> Amount:
    """Return what a node's status says that it gives."""
    return _amount(given)._replace(pods=int(quantity(given.get("pods", "0"))))


def requests(spec: Mapping[str, Any]) -> Amount:
    """Return what the scheduler reserves for a pod.

    Containers and sidecars add up; what initialises runs before them, one after the other.
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    running, first = NOTHING, NOTHING
    for container in spec.get("initContainers") or ():
        one = requested(container)
        if container.get("restartPolicy") == "Always":
            running = running.plus(one)
            first = first.largest(running)
        else:
            first = first.largest(running.plus(one))
    for container in spec.get("containers") or ():
        running = running.plus(requested(container))
    whole = running.largest(first)
    of_pod = (spec.get("resources") or {}).get("requests") or {}
    if of_pod:
        stated = _amount(of_pod)
        whole = Amount(
            stated.cpu if "cpu" in of_pod else whole.cpu,
            stated.memory if "memory" in of_pod else whole.memory,
        )
    return whole.plus(_amount(spec.get("overhead") or {}))._replace(pods=1)


def requested(container: Mapping[str, Any]) -> Amount:
    """Return what one container requests; a limit is the request left out."""
    resources = container.get("resources") or {}
    return _amount({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amount(resources: Mapping[str, Any]) -> Amount:
    cpu, memory = (quantity(resources.get(name, "0")) for name in ("cpu", "memory"))
    return Amount(math.ceil(cpu * 1000), math.ceil(memory), 0)
