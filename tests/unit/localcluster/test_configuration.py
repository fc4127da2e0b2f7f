"""The configuration that nodes and control plane are started with."""

import json
import tomllib
from pathlib import Path

import pytest

from localcluster import addresses, controlplane, node, objects, pki
from localcluster.layout import RUN, Layout
from localcluster.node import Node

LAYOUT = Layout(Path('/somewhere/with "quotes"'))
FIRST = Node(1, frozenset({1}), frozenset({0, 1}), reserved_bytes=2**30)
SECOND = Node(2, frozenset({0}), frozenset({0, 1}), reserved_bytes=2**30)


def test_a_kubelet_reserves_the_other_nodes_processors_and_memory() -> None:
    config = node.kubelet_config(LAYOUT, FIRST, "/localcluster/node-1")
    assert config["cpuManagerPolicy"] == "static"
    assert config["reservedSystemCPUs"] == "0"
    assert config["systemReserved"] == {"memory": str(2**30)}


def test_a_node_without_processors_of_its_own_gives_none_away() -> None:
    bare = Node(1, frozenset(), frozenset({0}), reserved_bytes=0)
    config = node.kubelet_config(LAYOUT, bare, "/localcluster/node-1")
    assert config["cpuManagerPolicy"] == "none"
    assert "reservedSystemCPUs" not in config


def test_nobody_calls_a_kubelet_without_a_name() -> None:
    config = node.kubelet_config(LAYOUT, FIRST, "/localcluster/node-1")
    assert config["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": f"{LAYOUT.pki}/ca.crt"},
    }
    assert config["authorization"] == {"mode": "Webhook"}


def test_a_runtimes_configuration_is_toml_whatever_the_checkout_is_called() -> None:
    config = tomllib.loads(node.containerd_config(LAYOUT, FIRST))
    assert config["root"] == f"{LAYOUT.state}/node-1/containerd"
    assert config["grpc"]["address"] == "/run/localcluster/node-1.sock"


def test_nodes_share_no_address_range_socket_or_zone() -> None:
    subnets = [node.cni_config(each)["plugins"][0]["ipam"]["ranges"] for each in (FIRST, SECOND)]
    assert subnets == [[[{"subnet": "10.244.1.0/24"}]], [[{"subnet": "10.244.2.0/24"}]]]
    assert FIRST.socket != SECOND.socket
    zones = [
        next(
            word
            for part in node.components(LAYOUT, each)
            for word in part.command
            if word.startswith("--node-labels")
        )
        for each in (FIRST, SECOND)
    ]
    assert [zone.rpartition("=")[2] for zone in zones] == ["local-1", "local-2"]


def test_sockets_fit_into_what_the_kernel_allows() -> None:
    assert len(str(RUN / "node-99.sock")) < 108


def test_every_program_of_a_node_runs_inside_it() -> None:
    for part in node.components(LAYOUT, FIRST):
        assert part.network == Path("/run/netns/localcluster-node-1")
        assert part.mounts == FIRST.mounts


def test_only_the_api_server_and_dns_listen_beyond_loopback() -> None:
    for part in controlplane.components(LAYOUT):
        if part.name in {"kube-controller-manager", "kube-scheduler"}:
            assert "--bind-address=127.0.0.1" in part.command
        if part.name == "etcd":
            listening = [word for word in part.command if "listen" in word]
            assert len(listening) == 2
            assert all("127.0.0.1" in word for word in listening)


@pytest.mark.parametrize(
    ("routes", "conflicts"),
    [
        (["default", "192.0.2.0/24"], []),
        (["10.0.0.0/8"], ["10.0.0.0/8"]),
        (["default", "10.96.7.0/24", "10.243.0.9"], ["10.96.7.0/24", "10.243.0.9"]),
    ],
)
def test_routes_that_the_cluster_would_take_over_are_found(
    routes: list[str], conflicts: list[str]
) -> None:
    assert addresses.overlapping(routes) == conflicts


def test_a_certificate_is_for_serving_or_for_calling_but_never_for_both() -> None:
    for identity in pki.identities(["node-1"], ["10.243.0.11"]):
        uses = [line for line in identity.extensions.splitlines() if "extendedKeyUsage" in line]
        assert uses in (["extendedKeyUsage=serverAuth"], ["extendedKeyUsage=clientAuth"])


def test_a_kubelet_is_known_as_its_node_and_no_more() -> None:
    identities = {each.name: each for each in pki.identities(["node-1"], ["10.243.0.11"])}
    assert identities["node-1"].subject == "/O=system:nodes/CN=system:node:node-1"
    assert [name for name, each in identities.items() if "system:masters" in each.groups] == [
        "admin"
    ]
    assert "IP:10.243.0.11," not in identities["node-1-serving"].extensions
    assert "DNS:node-1,IP:10.243.0.11" in identities["node-1-serving"].extensions


def test_the_initial_objects_are_complete_and_serialisable() -> None:
    items = objects.initial()["items"]
    assert json.loads(json.dumps(items)) == items
    kinds = [item["kind"] for item in items]
    assert {"StorageClass", "Service", "EndpointSlice", "ClusterRole"} <= set(kinds)
    names = {item["metadata"]["name"] for item in items if item["kind"] == "ClusterRole"}
    bound = {item["roleRef"]["name"] for item in items if item["kind"] == "ClusterRoleBinding"}
    assert names < bound, "a role that nobody has"
