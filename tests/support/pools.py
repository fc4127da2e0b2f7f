"""WorkerPool resources for tests: a valid one, changed field by field."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

REMOVE = object()
"""As a value: take the field away."""


def pool(changes: dict[str, object] | None = None, *, name: str = "images") -> Document:
    """Return the smallest valid WorkerPool with `changes` (`{"spec.cpu.policy": "Shared"}`)."""
    document: Document = {
        "apiVersion": "workerpool.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": name},
        "spec": {"queue": {"list": "queue:images", "redis": {"url": "redis://redis:6379/0"}}},
    }
    return changed(document, changes or {})


def changed(document: Document, changes: Mapping[str, object]) -> Document:
    """Set or remove fields of `document` by their dotted paths, in place."""
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is REMOVE:
            del place[leaf]
        else:
            place[leaf] = value
    return document
