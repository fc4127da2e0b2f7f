"""Which queues a Deployment's workers serve. Pure.

A pod that serves several is idle when it has no job of any, and is closed in each of them. What
its workers' ids carry says which queues those are, so that nobody is judged by others than theirs:
`docs/protocol.md`, Several queues.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

VARIABLE = "WORKERPOOL_QUEUES"
_DIGITS = 8


def queues_of(deployment: Mapping[str, Any], queue: str) -> tuple[str, ...]:
    """Return the queues that a Deployment's template names; `queue` alone if it names none.

    It may name them where they cannot be read (a ConfigMap): then the workers' mark is another.
    """
    containers = deployment["spec"]["template"]["spec"]["containers"]
    for container in containers:
        for variable in container.get("env") or ():
            if variable["name"] == VARIABLE and variable.get("value"):
                words = (word.strip() for word in variable["value"].split(","))
                return tuple(word.rpartition("=")[0] for word in words if word)
    return (queue,)


def mark(queues: Collection[str]) -> str:
    """Return what stands before the `@` in the ids of workers that serve these queues."""
    if len(queues) == 1:
        return ""
    return "+" + sha256("\n".join(sorted(queues)).encode()).hexdigest()[:_DIGITS]
