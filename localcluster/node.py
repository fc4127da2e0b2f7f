"""A node: a control group, a network namespace and a mount namespace, with a runtime in them.

In its mount namespace the fixed folders of kubelet and containerd are the node's own, and every
volume, root file system and network handle of its pods is mounted there and nowhere else: when the
last process of a node ends and the namespace is released, the kernel unmounts them all.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import addresses, cgroups, cpus, network, topology
from localcluster.commands import run, succeeds
from localcluster.components import Component
from localcluster.layout import RUN, Layout

PAUSE_IMAGE = "localhost/pause:1"

SHOWN_CORES_TAINT = "localcluster.workerpool.dev/shown-cores"
"""Keeps off a node whose cores are made up whatever does not mean to go there."""

# Folders whose names are compiled into kubelet and containerd. On this machine they stay empty.
_KUBELET = Path("/var/lib/kubelet")
_FIXED = tuple(
    Path(folder)
    for folder in (
        "/var/log/containers",
        "/run/containerd",
        "/run/netns",
        "/opt/containerd",
    )
)


@dataclass(frozen=True)
class Node:
    """One node. `index` counts from 1; all that tells nodes apart follows from it."""

    index: int
    cpus: frozenset[int]
    """The processors its exclusive pods may own; none turns exclusive pods off."""
    all_cpus: frozenset[int]
    reserved_bytes: int
    """The part of this machine's memory that is the other nodes'."""
    shown_cores: tuple[frozenset[int], ...] = ()
    """Cores that its kubelet is shown in place of the true ones; it then gives out whole ones.

    Only exclusive pods can run there: of processors that are not there, the kernel gives none.
    """

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return f"node-{self.index}"

    @property
    def mounts(self) -> Path:
        """The file that holds the mount namespace."""
        return RUN / f"{self.name}.mounts"

    @property
    def socket(self) -> Path:
        """The runtime's socket."""
        return RUN / f"{self.name}.sock"

    @property
    def reserved(self) -> frozenset[int]:
        """The processors that exclusive pods of this node never get."""
        return self.all_cpus - self.cpus


def plan(count: int) -> list[Node]:
    """Return the nodes of a cluster on this machine."""
    cores = cpus.online_cores()
    parts = cpus.split(cores, count)
    everything = frozenset[int]().union(*cores)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        Node(index, part, everything, memory * (count - 1) // count)
        for index, part in enumerate(parts, start=1)
    ]


def prepare(layout: Layout, node: Node) -> None:
    """Make a node's folders, control group, mount namespace and configuration files."""
    folder = layout.node(node.name)
    cgroup_root = cgroups.make_node_root(cgroups.mounted(), node.name)
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    files = {
        "containerd.toml": containerd_config(layout, node),
        "cni/10-pods.conflist": _json(cni_config(node)),
        "kubelet.json": _json(kubelet_config(layout, node, cgroup_root)),
        "kube-proxy.json": _json(kube_proxy_config(layout, node)),
    }
    for name, text in files.items():
        # A kube-proxy ends when its file is written, be it with the same words.
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)
    _ensure_mount_namespace(layout, node)


def components(layout: Layout, node: Node) -> list[Component]:
    """Return a node's programs in the order in which they are started."""
    folder = layout.node(node.name)

    def component(program: str, *command: str) -> Component:
        return Component(
            name=f"{node.name}-{program}",
            command=command,
            network=network.handle(network.namespace(node.name)),
            mounts=node.mounts,
        )

    return [
        component("containerd", "containerd", f"--config={folder / 'containerd.toml'}"),
        component(
            "kubelet",
            str(layout.programs / "kubelet"),
            f"--config={folder / 'kubelet.json'}",
            f"--kubeconfig={layout.pki / f'{node.name}.kubeconfig'}",
            f"--hostname-override={node.name}",
            f"--node-ip={addresses.node(node.index)}",
            "--node-labels=topology.kubernetes.io/region=local,"
            f"topology.kubernetes.io/zone=local-{node.index}",
        ),
        component(
            "kube-proxy",
            str(layout.programs / "kube-proxy"),
            f"--config={folder / 'kube-proxy.json'}",
        ),
    ]


def remove_fixed_folders() -> None:
    """Remove the mount points that were made on this machine, unless something else uses them."""
    for folder in (_KUBELET, *_FIXED):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def containerd_config(layout: Layout, node: Node) -> str:
    """Render the runtime's configuration; TOML, whose strings JSON can write."""
    folder = layout.node(node.name)
    return f"""\
version = 2
root = {json.dumps(str(folder / "containerd"))}
state = "/run/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {json.dumps(str(node.socket))}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {json.dumps(PAUSE_IMAGE)}
  disable_apparmor = true
  # Inside another container the kernel refuses to lower a score below one's own.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = {json.dumps(str(folder / "cni"))}
"""


def cni_config(node: Node) -> dict[str, Any]:
    """Render how pods are connected: to the node's bridge, with addresses of the node's range."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": network.POD_BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/containerd/addresses",
                    "ranges": [[{"subnet": str(addresses.pods(node.index))}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def kubelet_config(layout: Layout, node: Node, cgroup_root: str) -> dict[str, object]:
    """Render the kubelet's configuration."""
    folder = layout.node(node.name)
    exclusive: dict[str, object] = {"cpuManagerPolicy": "none"}
    if node.cpus:
        exclusive = {
            "cpuManagerPolicy": "static",
            "reservedSystemCPUs": cpus.render_list(node.reserved),
        }
    if node.shown_cores:
        taint = {"key": SHOWN_CORES_TAINT, "effect": "NoSchedule"}
        exclusive |= {
            "cpuManagerPolicyOptions": {"full-pcpus-only": "true"},
            "registerWithTaints": [taint],
        }
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / f"{node.name}-serving.crt"),
        "tlsPrivateKeyFile": str(layout.pki / f"{node.name}-serving.key"),
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "failCgroupV1": False,
        "failSwapOn": False,
        **exclusive,
        "systemReserved": {"memory": str(node.reserved_bytes)},
        "clusterDNS": [str(addresses.DNS_SERVICE)],
        "clusterDomain": addresses.CLUSTER_DOMAIN,
        "resolvConf": "",
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # Images cannot be pulled again: keep them however full the disk is.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi"},
    }


def kube_proxy_config(layout: Layout, node: Node) -> dict[str, object]:
    """Render kube-proxy's configuration: it owns the firewall of the node's namespace."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.pki / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": str(addresses.PODS),
        "hostnameOverride": node.name,
        # The table's size belongs to the whole machine: leave it as it is.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _ensure_mount_namespace(layout: Layout, node: Node) -> None:
    """Make the node's mount namespace, in which the fixed folders are its own."""
    if succeeds(["nsenter", f"--mount={node.mounts}", "true"]):
        return
    node.mounts.touch()
    for folder in (_KUBELET, *_FIXED):
        folder.mkdir(parents=True, exist_ok=True)
    kubelet = layout.node(node.name) / "kubelet"
    kubelet.mkdir(exist_ok=True)
    lines = ["set -e", "mount --make-rshared /"]
    lines += [f"mount -t tmpfs -o mode=755 localcluster {folder}" for folder in _FIXED]
    lines += [f'mount --bind "$1" {_KUBELET}']
    if node.shown_cores:
        shown = layout.node(node.name) / "shown-cores"
        topology.write(shown, node.shown_cores)
        lines += topology.mount_commands(shown)
    run(["unshare", f"--mount={node.mounts}", "sh", "-c", "\n".join(lines), "sh", kubelet])


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2) + "\n"
