"""Judge, before anything is changed, whether this machine can carry the cluster.

`observe` looks, `problems` decides; each problem comes with what to do instead.
"""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from localcluster import cgroups, mounts, packages, programs
from localcluster.commands import succeeds
from localcluster.errors import Unsupported
from localcluster.layout import Layout

NEEDED_BYTES = 14 * 2**30
"""Go's modules and build cache 9 GB, programs and images 3 GB, the cluster 2 GB."""
NEEDED_BYTES_WHEN_BUILT = 3 * 2**30
_ELSEWHERE = (
    "use a cluster that you have: KUBECONFIG=<its file> make up IMAGE_REPOSITORY=<your registry>"
)
_NO_ROOT = (
    f"a local cluster needs root: run this as root, allow sudo without a password, or {_ELSEWHERE}"
)
_NOT_BELOW_CONTAINERS = frozenset(
    {"overlay", "nfs", "nfs4", "cifs", "9p", "vboxsf", "fuse.sshfs", "fuse.vmhgfs-fuse"}
)
"""They lack what the kernel's overlay file system needs of the layer that is written to."""
_ARCHITECTURES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Machine:
    """What is seen of this machine."""

    system: str
    architecture: str
    is_root: bool
    can_sudo: bool
    free_bytes: int
    file_system: str
    has_writable_cgroups: bool
    is_built: bool
    """Whether programs are there already, so that no build needs the room."""
    has_apt: bool
    has_missing_packages: bool


def observe(layout: Layout) -> Machine:
    """Look at this machine; changes nothing."""
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        is_root=os.geteuid() == 0,
        can_sudo=_can_sudo(),
        free_bytes=shutil.disk_usage(layout.checkout).free,
        file_system=mounts.file_system(layout.checkout),
        has_writable_cgroups=_can_write_cgroups(),
        is_built=all(programs.is_current(layout, each) for each in programs.PROGRAMS),
        has_apt=Path("/usr/bin/apt-get").exists(),
        has_missing_packages=bool(packages.missing()),
    )


def problems(machine: Machine) -> list[str]:
    """Return what keeps the cluster from running here, most fundamental first."""
    if machine.system != "Linux":
        return [f"a local cluster needs Linux, and this is {machine.system}: {_ELSEWHERE}"]
    found = []
    if machine.architecture not in _ARCHITECTURES:
        found.append(
            f"a local cluster needs {' or '.join(_ARCHITECTURES)}, and this machine is "
            f"{machine.architecture}: {_ELSEWHERE}"
        )
    if not (machine.is_root or machine.can_sudo):
        found.append(_NO_ROOT)
    needed = NEEDED_BYTES_WHEN_BUILT if machine.is_built else NEEDED_BYTES
    if machine.free_bytes < needed:
        found.append(
            f"{_gib(needed)} of free disk are needed, and {_gib(machine.free_bytes)} are free: "
            f"make room, or {_ELSEWHERE}"
        )
    if machine.file_system in _NOT_BELOW_CONTAINERS:
        found.append(
            f"containers cannot be stacked on a file system of the kind {machine.file_system} (a "
            "container's own, a network's, a shared folder): clone to a folder on a disk or a "
            f"volume, or {_ELSEWHERE}"
        )
    if not machine.has_writable_cgroups:
        found.append(
            "a kubelet needs control groups that it can write to, and here are none: mount them, "
            f"give the container more rights (`--privileged`), or {_ELSEWHERE}"
        )
    if machine.has_missing_packages and not machine.has_apt:
        found.append(
            "packages are missing and there is no apt-get: docs/localcluster.md lists them; "
            f"or {_ELSEWHERE}"
        )
    return found


def check(layout: Layout) -> None:
    """Raise Unsupported with all problems at once."""
    if found := problems(observe(layout)):
        raise Unsupported("\n".join(found))


def check_sudo() -> None:
    """Raise Unsupported if this user cannot become root without being asked."""
    if not _can_sudo():
        raise Unsupported(_NO_ROOT)


def _can_sudo() -> bool:
    return succeeds(["sudo", "--non-interactive", "true"])


def _can_write_cgroups() -> bool:
    try:
        roots = cgroups.mounted().roots
    except (Unsupported, FileNotFoundError):  # the latter where there is no /proc
        return False
    return not any(os.statvfs(root).f_flag & os.ST_RDONLY for root in roots)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
