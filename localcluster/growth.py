"""Add a node to the cluster while it runs, and take it away again."""

import shutil

from localcluster import cgroups, cluster, components, network, node, ownership, roster
from localcluster.commands import succeeds, wait_until
from localcluster.errors import CommandFailed, LocalClusterError
from localcluster.layout import Layout
from localcluster.roster import Kind

_DRAIN_SECONDS = 50
_READY_SECONDS = 60


def add(layout: Layout, kind: Kind) -> str:
    """Start one node more, and return its name; of images it has none but the pods' own."""
    with ownership.exclusive():
        _require_whole(layout)
        new = roster.add(layout, kind)
        cluster.start(layout, roster.nodes(layout))
        return new.name


def remove(layout: Layout, name: str) -> None:
    """Let a node's pods end, then end the node, and leave nothing of it."""
    with ownership.exclusive():
        ownership.check(layout.checkout)
        leaving = roster.added(layout, name)
        _drain(layout, name)
        hierarchies = cgroups.mounted()
        parts = [part.name for part in node.components(layout, leaving)]
        groups = [cgroups.component(hierarchies, part) for part in parts]
        pods = cgroups.node_roots(hierarchies, name)
        cgroups.kill_below(*groups, *pods)
        cluster.kubectl(layout, "delete", "node", name, "--ignore-not-found")
        others = [each.index for each in roster.nodes(layout) if each.index != leaving.index]
        network.remove_node(name, leaving.index, others)
        succeeds(["umount", "--lazy", leaving.mounts])  # one that never started has none
        leaving.mounts.unlink(missing_ok=True)
        for socket in leaving.socket.parent.glob(f"{leaving.socket.name}*"):
            socket.unlink()
        cgroups.remove_below(*groups, *pods)
        for part in parts:
            components.forget(layout, part)
        shutil.rmtree(layout.node(name))


def _drain(layout: Layout, name: str) -> None:
    """Have a node's pods end as they like to, if they do so in time."""
    try:
        cluster.kubectl(
            layout,
            *("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force"),
            *("--disable-eviction", f"--timeout={_DRAIN_SECONDS}s"),
        )
    except CommandFailed as error:
        print(f"  pods of {name} are killed, as they do not end: {error}")


def _require_whole(layout: Layout) -> None:
    """Raise unless everything runs; nodes that were not heard of for a moment are waited for."""
    ownership.check(layout.checkout)
    if not all(cluster.inspect(layout).components.values()):
        raise LocalClusterError("there is no whole cluster to add a node to; run `make up` first")
    wait_until(
        lambda: cluster.inspect(layout).is_whole,
        timeout_seconds=_READY_SECONDS,
        otherwise=lambda: (
            f"only the nodes {cluster.inspect(layout).ready_nodes} are ready, so none is added; "
            "look at `kubectl get nodes`"
        ),
    )
