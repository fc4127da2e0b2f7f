"""Where everything lies.

A checkout has two ignored folders: `.cluster/` is the running cluster's state and dies with it,
`.build/` holds programs and images and is kept. What exists once per machine, whatever the
checkout, has a fixed name here, so that one checkout can see, and if told to remove, another's.
"""

from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/localcluster")
"""A private tmpfs: the owner's name, the nodes' mount namespaces and the runtimes' sockets.

It is fixed and short because a socket's path may have 107 characters at most."""

CGROUP = "localcluster"
"""Every process of the cluster, containers included, lives below this control group."""


@dataclass(frozen=True)
class Layout:
    """The folders of one checkout."""

    checkout: Path

    @property
    def state(self) -> Path:
        """The running cluster's files; removed by `down`."""
        return self.checkout / ".cluster"

    @property
    def build(self) -> Path:
        """Programs, images and their caches; kept by `down`."""
        return self.checkout / ".build"

    @property
    def programs(self) -> Path:
        """The built programs: kubectl, helm, kubelet and so on."""
        return self.build / "bin"

    @property
    def images(self) -> Path:
        """The built images as docker-archive files, and their index."""
        return self.build / "images"

    @property
    def sources(self) -> Path:
        """The Go modules that pin what is built."""
        return Path(__file__).parent / "go"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's access to the cluster."""
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One file per component."""
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        """Keys, certificates and the components' kubeconfigs."""
        return self.state / "pki"

    @property
    def volumes(self) -> Path:
        """The folders behind persistent volumes: `<namespace>/<claim>`."""
        return self.state / "volumes"

    def node(self, name: str) -> Path:
        """Return the folder of one node's runtime and kubelet."""
        return self.state / name
