"""Install the Debian packages that cluster, image builds and tests need; asks nothing."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run_logged
from localcluster.errors import CommandFailed
from localcluster.layout import Layout

_LOCK_SECONDS = 300
"""A machine that was just started installs its updates, and nobody else can until it has."""
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}


@dataclass(frozen=True)
class Package:
    """A Debian package, and the file by which its presence is known."""

    name: str
    proof: str


PACKAGES = (
    Package("containerd", "containerd"),
    Package("runc", "runc"),
    Package("containernetworking-plugins", "/usr/lib/cni/bridge"),
    Package("iptables", "iptables"),
    Package("conntrack", "conntrack"),
    Package("iproute2", "ip"),
    Package("procps", "sysctl"),
    Package("util-linux", "nsenter"),
    Package("mount", "mount"),
    Package("openssl", "openssl"),
    Package("catatonit", "catatonit"),
    Package("mmdebstrap", "mmdebstrap"),
    Package("buildah", "buildah"),
    Package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
    Package("python3-venv", "/usr/share/doc/python3-venv"),
)

FOR_TESTS = (Package("redis-server", "redis-server"), Package("lua-check", "luacheck"))
"""What tests and checks run besides; `make up` has its Redis in a pod."""


def missing(packages: Sequence[Package] = PACKAGES) -> list[Package]:
    """Return those of the packages that are not there yet."""
    return [package for package in packages if not _is_present(package)]


def install(layout: Layout, packages: Sequence[Package] = PACKAGES) -> None:
    """Install those that are missing; nothing happens if none is."""
    wanted = [package.name for package in missing(packages)]
    if not wanted:
        return
    print(f"  installing {', '.join(wanted)} …", flush=True)
    log = layout.build / "logs" / "apt.log"
    run_logged(["apt-get", "update"], log, timeout_seconds=300, environment=_QUIET)
    run_logged(
        [
            *("apt-get", "install", "--yes", "--no-install-recommends"),
            *("-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS}", *wanted),
        ],
        log,
        timeout_seconds=900,
        environment=_QUIET,
    )
    if left := missing(packages):
        raise CommandFailed(f"still missing: {', '.join(each.name for each in left)}; read {log}")


def _is_present(package: Package) -> bool:
    if package.proof.startswith("/"):
        return Path(package.proof).exists()
    return shutil.which(package.proof) is not None
