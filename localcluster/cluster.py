"""Start, judge and end the whole cluster.

`up` starts what is not running and leaves the rest alone; the remains of a start that never came
to its end are removed first. `down` ends processes, then namespaces and control groups, then
files: in that order nothing is ever deleted that is still mounted or in use.
"""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from localcluster import addresses as plan_of_addresses
from localcluster import (
    cgroups,
    components,
    controlplane,
    kernel,
    mounts,
    network,
    node,
    objects,
    ownership,
    pki,
    roster,
    runtime,
)
from localcluster.commands import run, succeeds, wait_until
from localcluster.components import Component
from localcluster.errors import LocalClusterError
from localcluster.layout import Layout

_READY_SECONDS = 180
"""A quiet machine takes ten."""


@dataclass(frozen=True)
class Status:
    """What is seen of this checkout's cluster."""

    owner: str | None
    components: dict[str, bool]
    nodes: list[str]
    ready_nodes: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether everything runs that should."""
        return all(self.components.values()) and set(self.nodes) == set(self.ready_nodes)


def up(layout: Layout) -> None:
    """Start the cluster, or whatever of it does not run."""
    with ownership.exclusive():
        ownership.check(layout.checkout)
        owner = ownership.current()
        if owner is None or not owner.is_complete:
            _remove(layout)
        elif inspect(layout).is_whole:
            return
        ownership.claim(layout.checkout, is_complete=owner is not None and owner.is_complete)
        kernel.remember()
        start(layout, roster.nodes(layout))
        ownership.claim(layout.checkout, is_complete=True)


def down(layout: Layout, *, whoever_owns_it: bool = False) -> None:
    """End the cluster and leave nothing of it on this machine."""
    with ownership.exclusive():
        if not whoever_owns_it:
            ownership.check(layout.checkout)
        _remove(layout)


def load_images(layout: Layout, archives: list[Path]) -> None:
    """Give every image of docker-archives to every node of the running cluster."""
    ownership.check(layout.checkout)
    if ownership.current() is None:
        raise LocalClusterError("there is no cluster to load images into; run `make up` first")
    for archive in archives:
        if not archive.is_file():
            raise LocalClusterError(f"{archive}: no such file; run `build-images` first")
    with ThreadPoolExecutor() as pool:
        # All results are asked for, so that an error of any node is raised here.
        list(pool.map(lambda each: _load(layout, each, archives), roster.nodes(layout)))


def inspect(layout: Layout) -> Status:
    """Look at the cluster without changing anything."""
    owner = ownership.current()
    nodes = roster.nodes(layout)
    names = [part.name for part in _all_components(layout, nodes)]
    if owner is None or owner.checkout != str(layout.checkout):
        alive = dict.fromkeys(names, False)
    else:
        alive = {name: components.is_alive(layout, name) for name in names}
    ready = _ready_nodes(layout) if alive["kube-apiserver"] else []
    return Status(owner.checkout if owner else None, alive, [each.name for each in nodes], ready)


def start(layout: Layout, nodes: list[node.Node]) -> None:
    """Start whatever of a cluster with these nodes does not run; nothing else may at the time."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - started:5.1f} s  {text}", flush=True)

    _write_state(layout, nodes)
    network.ensure({each.name: each.index for each in nodes})
    etcd, api, *others = controlplane.components(layout)
    components.ensure(layout, etcd)
    components.ensure(layout, api)
    for each in nodes:
        node.prepare(layout, each)
        components.ensure(layout, node.components(layout, each)[0])
    say("etcd, API server and container runtimes run")
    for each in nodes:
        runtime.await_ready(layout, each)
        runtime.load_pause(layout, each)
    _await_api(layout)
    say("API server is ready")
    kubectl(layout, "apply", "--server-side", "-f", "-", stdin=json.dumps(objects.initial()))
    for part in (*others, _provisioner(layout)):
        components.ensure(layout, part)
    for each in nodes:
        for part in node.components(layout, each)[1:]:
            components.ensure(layout, part)
    _await_nodes(layout, nodes)
    for part in _all_components(layout, nodes):
        components.check_alive(layout, part.name)
    say(f"{len(nodes)} nodes are ready")


def kubectl(layout: Layout, *words: str, stdin: str | None = None) -> str:
    """Run kubectl as administrator and return what it printed."""
    return run([*_kubectl(layout), *words], stdin=stdin, timeout_seconds=60)


def _load(layout: Layout, each: node.Node, archives: list[Path]) -> None:
    """Import archives into one node, except those of ours that it has: their names are digests."""
    present = runtime.loaded(each)
    for archive in map(Path.resolve, archives):
        ours = archive.parent == layout.images
        if not (ours and runtime.names_in(archive) <= present):
            runtime.load(each, archive)


def _kubectl(layout: Layout) -> list[str]:
    return [str(layout.programs / "kubectl"), f"--kubeconfig={layout.kubeconfig}"]


def _write_state(layout: Layout, nodes: list[node.Node]) -> None:
    layout.state.mkdir(exist_ok=True)
    layout.volumes.mkdir(exist_ok=True)
    names = [each.name for each in nodes]
    hosts = [str(plan_of_addresses.node(each.index)) for each in nodes]
    pki.ensure(layout.pki, pki.identities(names, hosts))
    pki.write_private(layout.kubeconfig, pki.kubeconfig(layout.pki, "admin"))
    if person := os.environ.get("SUDO_UID"):
        os.chown(layout.kubeconfig, int(person), -1)
    (layout.state / "Corefile").write_text(controlplane.corefile(layout))


def _provisioner(layout: Layout) -> Component:
    return Component(
        name="provisioner",
        command=(
            *(sys.executable, "-m", "localcluster.provisioner"),
            *(str(layout.pki), str(layout.volumes)),
        ),
        environment=(("PYTHONPATH", str(Path(__file__).parent.parent)),),
    )


def _all_components(layout: Layout, nodes: list[node.Node]) -> list[Component]:
    return [
        *controlplane.components(layout),
        _provisioner(layout),
        *(part for each in nodes for part in node.components(layout, each)),
    ]


def _await_api(layout: Layout) -> None:
    def ready() -> bool:
        components.check_alive(layout, "kube-apiserver")
        return succeeds([*_kubectl(layout), "get", "--raw=/readyz", "--request-timeout=2s"])

    wait_until(
        ready,
        timeout_seconds=_READY_SECONDS,
        otherwise=lambda: (
            f"the API server is not ready; read {components.log(layout, 'kube-apiserver')} "
            f"and {components.log(layout, 'etcd')}"
        ),
    )


def _await_nodes(layout: Layout, nodes: list[node.Node]) -> None:
    def ready() -> bool:
        for each in nodes:
            components.check_alive(layout, f"{each.name}-kubelet")
        # A node that was ready before its kubelet died is called ready for a while: ask both.
        return len(_ready_nodes(layout)) == len(nodes) and all(
            succeeds([*_kubectl(layout), "get", f"--raw=/api/v1/nodes/{each.name}/proxy/healthz"])
            for each in nodes
        )

    wait_until(
        ready,
        timeout_seconds=_READY_SECONDS,
        poll_seconds=0.2,
        otherwise=lambda: (
            f"of {len(nodes)} nodes only {_ready_nodes(layout)} are ready; "
            f"read {layout.logs}/node-*-kubelet.log"
        ),
    )


def _ready_nodes(layout: Layout) -> list[str]:
    """Return the names of the ready nodes; none if the API server does not answer."""
    path = (
        "jsonpath={range .items[*]}{.metadata.name}="
        '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    )
    try:
        answer = kubectl(layout, "get", "nodes", "--request-timeout=5s", "-o", path)
    except LocalClusterError:
        return []
    return [line.removesuffix("=True") for line in answer.split() if line.endswith("=True")]


def _remove(layout: Layout) -> None:
    """Remove every trace of a cluster, whole, half-started or crashed."""
    hierarchies = cgroups.mounted()
    cgroups.kill_all(hierarchies)
    kernel.restore()
    network.remove()
    ownership.release()
    cgroups.remove(hierarchies)
    node.remove_fixed_folders()
    if layout.state.exists():
        mounts.refuse_below(layout.state)
        shutil.rmtree(layout.state)
