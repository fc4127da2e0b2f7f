"""What is printed for people; pure."""

from localcluster.cluster import Status
from localcluster.images import Built
from localcluster.layout import Layout


def access(layout: Layout) -> str:
    """Say how to reach the cluster."""
    return (
        f"the cluster is up; to look at it:\n"
        f"  export KUBECONFIG={layout.kubeconfig} PATH={layout.programs}:$PATH"
    )


def sizes(index: dict[str, Built]) -> str:
    """List the images with their sizes."""
    return "\n".join(f"  {built.image:45} {built.bytes / 1e6:6.0f} MB" for built in index.values())


def status(layout: Layout, seen: Status) -> str:
    """List every component, and the nodes that are ready."""
    if seen.owner is not None and seen.owner != str(layout.checkout):
        return f"the cluster on this machine belongs to {seen.owner}"
    lines = [
        f"  {name:25} {'running' if alive else 'not running'}"
        for name, alive in seen.components.items()
    ]
    return "\n".join([*lines, f"  ready nodes: {', '.join(seen.ready_nodes) or 'none'}"])
