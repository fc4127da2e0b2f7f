"""WorkerPools as the API server stores them: every default of the CRD filled in.

`support.pools` has them as people write them.
"""

from support.pools import Document, changed


def stored(changes: dict[str, object] | None = None, *, name: str = "images") -> Document:
    """Return a stored WorkerPool in namespace `shop`, changed field by field."""
    document: Document = {
        "apiVersion": "workerpool.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{name}",
            "generation": 1,
            "resourceVersion": "100",
        },
        "spec": {
            "queue": {"list": "queue:images", "redis": {"url": "redis://redis:6379/0"}},
            "minReplicas": 0,
            "maxReplicas": 10,
            "scaleDown": {"stabilizationSeconds": 60},
            "cpu": {"policy": "Exclusive"},
            "memory": "512Mi",
            "job": {"timeoutSeconds": 120, "maxAttempts": 5},
            "paused": False,
        },
    }
    return changed(document, changes or {})
