"""What is asked of a node's container runtime: readiness and images."""

import io
import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

from localcluster import components
from localcluster.commands import run, succeeds, wait_until
from localcluster.errors import LocalClusterError
from localcluster.layout import Layout
from localcluster.node import PAUSE_IMAGE, Node


def await_ready(layout: Layout, node: Node) -> None:
    """Wait until the runtime answers."""
    name = f"{node.name}-containerd"

    def ready() -> bool:
        components.check_alive(layout, name)
        return succeeds([*_ctr(node), "version"], timeout_seconds=20)

    wait_until(
        ready,
        timeout_seconds=120,
        otherwise=lambda: f"{name} does not answer; read {components.log(layout, name)}",
    )


def load(node: Node, archive: Path) -> None:
    """Import every image of a docker-archive into a node's runtime."""
    run([*_ctr(node), "images", "import", archive], timeout_seconds=300)


def names_in(archive: Path) -> frozenset[str]:
    """Return the names of the images in a docker-archive."""
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile("manifest.json")
            manifest = json.load(member) if member else []
    except (OSError, KeyError, tarfile.TarError) as error:
        raise LocalClusterError(
            f"{archive} cannot be read as a docker-archive: {error}"
        ) from error
    return frozenset(name for image in manifest for name in image["RepoTags"])


def loaded(node: Node) -> frozenset[str]:
    """Return the names of the images that a node has."""
    return frozenset(run([*_ctr(node), "images", "ls", "-q"]).split())


def load_pause(layout: Layout, node: Node) -> None:
    """Give a node the image that holds each pod's namespaces."""
    if PAUSE_IMAGE in loaded(node):
        return
    archive = layout.state / "pause.tar"
    if not archive.exists():
        write_pause(archive)
    load(node, archive)


def write_pause(archive: Path) -> None:
    """Write an image of one static program, Debian's catatonit, that does nothing but reap."""
    program = shutil.which("catatonit")
    if program is None:
        raise LocalClusterError("catatonit is missing; run `make packages`")
    layer = _tar({"catatonit": Path(program).read_bytes()}, mode=0o755)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[run(["uname", "-m"]).strip()]
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Entrypoint": ["/catatonit", "-P"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    archive.write_bytes(
        _tar(
            {
                "layer.tar": layer,
                "config.json": config,
                "manifest.json": json.dumps(manifest).encode(),
            },
            mode=0o644,
        )
    )


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _ctr(node: Node) -> list[str]:
    return ["ctr", f"--address={node.socket}", "--namespace=k8s.io"]
