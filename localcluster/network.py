"""The cluster's network: namespaces, one bridge, routes.

The control plane and each node have a network namespace of their own, joined by a bridge that lies
in the control plane's. On this machine itself there is one interface and its routes: no bridge,
no firewall rule, no kernel setting. Removing the namespaces removes everything that was in them.
No namespace has a route to the outside: what runs in the cluster cannot leave this machine.
"""

import json
from pathlib import Path

from localcluster import addresses, mounts
from localcluster.commands import run, succeeds, wait_until
from localcluster.errors import Unsupported

PREFIX = "localcluster-"
CONTROL_PLANE = f"{PREFIX}control-plane"
UPLINK = "localcluster"
"""The interface by which this machine reaches the cluster."""
POD_BRIDGE = "pods"
"""The bridge in each node's namespace that its pods hang on."""
_NAMESPACES = Path("/run/netns")


def namespace(node: str) -> str:
    """Return the name of a node's network namespace."""
    return f"{PREFIX}{node}"


def handle(name: str) -> Path:
    """Return the file by which a network namespace can be entered."""
    return _NAMESPACES / name


def ensure(nodes: dict[str, int]) -> None:
    """Make every namespace, interface and route that does not exist yet.

    `nodes` maps names to their index, counted from 1.
    """
    if not _is_up():
        _refuse_conflicts()
    _ensure_namespace(CONTROL_PLANE)
    _in(CONTROL_PLANE, "ip link show nodes || ip link add nodes type bridge")
    _in(CONTROL_PLANE, f"ip addr replace {_on_net(addresses.CONTROL_PLANE)} dev nodes")
    _in(CONTROL_PLANE, "ip link set nodes up && sysctl -qw net.ipv4.ip_forward=1")
    if not _is_up():
        run(
            [
                "ip",
                "link",
                "add",
                UPLINK,
                "type",
                "veth",
                "peer",
                "machine",
                "netns",
                CONTROL_PLANE,
            ]
        )
    _in(CONTROL_PLANE, "ip link set machine master nodes up")
    run(["ip", "addr", "replace", _on_net(addresses.MACHINE), "dev", UPLINK])
    run(["ip", "link", "set", UPLINK, "up"])
    for name, index in nodes.items():
        _ensure_node(name, index)
    for index in nodes.values():
        route = ["route", "replace", addresses.pods(index), "via", addresses.node(index)]
        run(["ip", *map(str, route)])
        run(["ip", "-n", CONTROL_PLANE, *map(str, route)])
    # Services are reached through the first node, whose kube-proxy translates.
    first = min(nodes.values())
    run(["ip", "route", "replace", str(addresses.SERVICES), "via", str(addresses.node(first))])
    for name, index in nodes.items():
        for other in set(nodes.values()) - {index}:
            _in(
                namespace(name),
                f"ip route replace {addresses.pods(other)} via {addresses.node(other)}",
            )


def remove() -> None:
    """Remove everything; their processes must have ended."""
    for name in existing():
        run(["ip", "netns", "delete", name])
    # It goes with the namespace of its other end, but the kernel takes its time to do so.
    succeeds(["ip", "link", "delete", UPLINK])
    wait_until(
        lambda: not _is_up(),
        timeout_seconds=60,
        otherwise=lambda: f"the interface {UPLINK} does not go; look at it with `ip link`",
    )
    if _NAMESPACES in mounts.points() and not any(_NAMESPACES.iterdir()):
        run(["umount", _NAMESPACES])  # `ip netns add` mounts it for its own use


def remove_node(name: str, index: int, others: list[int]) -> None:
    """Remove a node's namespace and the routes to its pods; its processes must have ended."""
    if namespace(name) in existing():
        run(["ip", "netns", "delete", namespace(name)])
    route = ["route", "delete", str(addresses.pods(index))]
    # The kernel drops a route by itself only where the interface goes, and that is shared here.
    succeeds(["ip", *route])
    for space in (CONTROL_PLANE, *(namespace(f"node-{other}") for other in others)):
        succeeds(["ip", "-n", space, *route])


def existing() -> list[str]:
    """Return the names of the cluster's network namespaces on this machine."""
    if not _NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in _NAMESPACES.iterdir() if path.name.startswith(PREFIX))


def _ensure_node(name: str, index: int) -> None:
    space = namespace(name)
    _ensure_namespace(space)
    if not succeeds(["ip", "-n", space, "link", "show", "eth0"]):
        peer = ["peer", name, "netns", CONTROL_PLANE]
        run(["ip", "-n", space, "link", "add", "eth0", "type", "veth", *peer])
    _in(CONTROL_PLANE, f"ip link set {name} master nodes up")
    gateway = f"{addresses.pods(index)[1]}/{addresses.pods(index).prefixlen}"
    _in(
        space,
        f"ip addr replace {_on_net(addresses.node(index))} dev eth0 && ip link set eth0 up",
        f"ip link show {POD_BRIDGE} || ip link add {POD_BRIDGE} type bridge",
        f"ip addr replace {gateway} dev {POD_BRIDGE} && ip link set {POD_BRIDGE} up",
        # An address without a service ends here instead of going in circles.
        f"ip route replace {addresses.SERVICES} dev {POD_BRIDGE}",
        "sysctl -qw net.ipv4.ip_forward=1",
        # Answers between pods of one node must pass the rules that translated the question.
        "! test -e /proc/sys/net/bridge || sysctl -qw net.bridge.bridge-nf-call-iptables=1",
    )


def _ensure_namespace(name: str) -> None:
    if name not in existing():
        run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def _in(space: str, *scripts: str) -> None:
    """Run shell lines in a network namespace (and no other: /sys stays as it is)."""
    for script in scripts:
        run(["nsenter", f"--net={handle(space)}", "sh", "-c", script])


def _is_up() -> bool:
    return succeeds(["ip", "link", "show", UPLINK])


def _on_net(address: object) -> str:
    return f"{address}/{addresses.NODES.prefixlen}"


def _refuse_conflicts() -> None:
    routes = [route["dst"] for route in json.loads(run(["ip", "-4", "-json", "route"]))]
    if taken := addresses.overlapping(routes):
        raise Unsupported(
            f"this machine already has a route to {', '.join(taken)}, which the cluster's address "
            f"plan needs ({addresses.NODES}, {addresses.PODS}, {addresses.SERVICES}): leave that "
            "network (a VPN?) or change localcluster/addresses.py"
        )
