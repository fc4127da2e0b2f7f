"""Control groups: who belongs to the cluster, and how to end all of it at once.

A process is the cluster's if, and only if, it lives below the group `localcluster`. The kernel
keeps that true across forks and crashes, so that no reused process id is ever taken for ours.
Version 1 (one hierarchy per controller), version 2 (one for all) and hybrids are understood.

In version 2 a group whose children have controllers has no processes of its own; the root of all
is excepted, and a container's root is not that one. Who is in it moves aside until the end.
"""

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from localcluster.commands import wait_until
from localcluster.errors import Unsupported
from localcluster.layout import CGROUP

_V2_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")
"""A kubelet insists on all but `io`, as far as this machine's root has them."""
_ASIDE = f"{CGROUP}-aside"
"""Beside the cluster's own group: nobody in it is the cluster's."""


@dataclass(frozen=True)
class Hierarchies:
    """Where the control groups are mounted.

    `version` is 1 as soon as any controller is bound to a hierarchy of its own; `roots` are then
    all of those and, in a hybrid, that of version 2, which has no controllers left.
    """

    version: int
    roots: tuple[Path, ...]

    @property
    def processes(self) -> Path:
        """The hierarchy in which components are told apart.

        In version 1 that is one without effect on scheduling or accounting: a kubelet requires its
        own cpu and memory groups to be the same.
        """
        named = [root for root in self.roots if root.name in {"pids", "systemd"}]
        return named[0] if self.version == 1 else self.roots[0]


def parse_mounts(mounts: str) -> Hierarchies:
    """Read the hierarchies from the text of /proc/self/mounts."""
    first, second = [], []
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup":
            first.append(Path(where))
        elif kind == "cgroup2":
            second.append(Path(where))
    if first:
        if not {root.name for root in first} & {"pids", "systemd"}:
            raise Unsupported("the control group hierarchies lack `pids`; mount it and try again")
        return Hierarchies(1, (*first, *second))
    if second:
        return Hierarchies(2, (second[0],))
    raise Unsupported("no control groups are mounted; a kubelet cannot run here")


def mounted() -> Hierarchies:
    """Read this machine's hierarchies."""
    return parse_mounts(Path("/proc/self/mounts").read_text())


def component(hierarchies: Hierarchies, name: str) -> Path:
    """Return the group of one component, which need not exist."""
    return hierarchies.processes / CGROUP / "components" / name


def make_node_root(hierarchies: Hierarchies, name: str) -> str:
    """Make the group below which a node's pods live, and return its name for the kubelet."""
    for root in hierarchies.roots:
        if hierarchies.version == 2:  # noqa: PLR2004 - the version's own name
            _delegate(root, root / CGROUP, root / CGROUP / name)
        group = root / CGROUP / name
        group.mkdir(parents=True, exist_ok=True)
        if root.name == "cpuset":
            _inherit_cpuset(root, root / CGROUP, group)
    return f"/{CGROUP}/{name}"


def processes(group: Path) -> list[int]:
    """Return the ids of the processes directly in a group; none if there is no such group."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def node_roots(hierarchies: Hierarchies, name: str) -> list[Path]:
    """Return the groups below which a node's pods live, one per hierarchy."""
    return [root / CGROUP / name for root in hierarchies.roots]


def kill_all(hierarchies: Hierarchies) -> None:
    """End every process of the cluster, whoever forked it."""
    kill_below(hierarchies.processes / CGROUP)


def kill_below(*trees: Path) -> None:
    """End every process in these groups and in those below them."""

    def ended() -> bool:
        alive = [pid for tree in trees for group in _below(tree) for pid in processes(group)]
        for pid in alive:
            kill(pid)
        return not alive

    wait_until(
        ended,
        timeout_seconds=60,
        otherwise=lambda: (
            f"processes below {', '.join(map(str, trees))} do not end; look at them with "
            "`ps -o stat,args`"
        ),
    )


def kill(pid: int) -> None:
    """Send SIGKILL; a process that has just ended is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def remove(hierarchies: Hierarchies) -> None:
    """Remove the cluster's groups from every hierarchy; they must be empty of processes."""
    remove_below(*(root / CGROUP for root in hierarchies.roots))
    if hierarchies.version == 2:  # noqa: PLR2004 - the version's own name
        _move_back(hierarchies.roots[0])


def remove_below(*trees: Path) -> None:
    """Remove these groups and those below them; they must be empty of processes."""

    def left() -> list[Path]:
        return [group for tree in trees for group in _below(tree) if not _is_removed(group)]

    wait_until(
        lambda: not left(),
        timeout_seconds=60,
        otherwise=lambda: f"{', '.join(map(str, left()))}: cannot be removed; who uses it?",
    )


def _below(group: Path) -> list[Path]:
    """Return a group and all below it, children first."""
    if not group.is_dir():
        return []
    return [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]


def _is_removed(group: Path) -> bool:
    """Remove one group; False while the kernel still has it in use."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _delegate(*groups: Path) -> None:
    """Let each group's children use the controllers that pods need (version 2)."""
    for group in groups:
        group.mkdir(exist_ok=True)
        offered = (group / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS if name in offered)
        control = group / "cgroup.subtree_control"
        try:
            control.write_text(wanted)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _move(group, group / _ASIDE)
            control.write_text(wanted)


def _move_back(root: Path) -> None:
    """Put those who moved aside back, unless somebody else's groups use controllers by now."""
    if not (root / _ASIDE).is_dir():
        return
    control = root / "cgroup.subtree_control"
    try:
        control.write_text(" ".join(f"-{name}" for name in control.read_text().split()))
    except OSError:
        return
    _move(root / _ASIDE, root)
    remove_below(root / _ASIDE)


def _move(source: Path, target: Path) -> None:
    """Move every process of a group into another; they may fork meanwhile."""
    target.mkdir(exist_ok=True)

    def moved() -> bool:
        for pid in processes(source):
            with suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(str(pid))
        return not processes(source)

    wait_until(
        moved,
        timeout_seconds=60,
        otherwise=lambda: (
            f"processes {processes(source)} do not leave {source}, whose children get no "
            "controllers with them in it; 0 is one of another namespace"
        ),
    )


def _inherit_cpuset(*groups: Path) -> None:
    """Give each group the processors and memory of its parent: new ones start with none."""
    for parent, group in pairwise(groups):
        for file in ("cpuset.cpus", "cpuset.mems"):
            (group / file).write_text((parent / file).read_text())
