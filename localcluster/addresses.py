"""The cluster's address plan; pure.

::

    this machine  10.243.0.1 ──veth──┐
                                     bridge, in the control plane's namespace, 10.243.0.2
    node-1        10.243.0.11 ─veth──┤   pods 10.244.1.0/24
    node-2        10.243.0.12 ─veth──┘   pods 10.244.2.0/24          services 10.96.0.0/16
    an added one  10.243.0.13 and so on

Nodes lie outside the range of the pods, so that kube-proxy masquerades what this machine sends to
a service, and the answer finds its way back.
"""

from ipaddress import IPv4Address, IPv4Network

NODES = IPv4Network("10.243.0.0/24")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")

MACHINE = NODES[1]
CONTROL_PLANE = NODES[2]
API_SERVICE = SERVICES[1]
DNS_SERVICE = SERVICES[10]

API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"


def node(index: int) -> IPv4Address:
    """Return the address of a node, counted from 1."""
    return NODES[10 + index]


def pods(index: int) -> IPv4Network:
    """Return the pods' range of a node, counted from 1."""
    return IPv4Network((PODS[index * 256], 24))


def overlapping(routes: list[str]) -> list[str]:
    """Return those of this machine's routes that the plan would take traffic from.

    `routes` are destinations as `ip route` names them; `default` is everybody's.
    """
    plan = (NODES, PODS, SERVICES)
    return [
        route
        for route in routes
        if route != "default" and any(IPv4Network(route).overlaps(part) for part in plan)
    ]
