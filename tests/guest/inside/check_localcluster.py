"""The local cluster's control groups on version 2: at the root of all, and in a container."""

import json
import subprocess
import sys
from pathlib import Path

from guest.inside.pod import delegated
from localcluster import cgroups

KUBELETS = {"cpu", "cpuset", "hugetlb", "memory", "pids"}
"""What a kubelet wants its root to have if the machine has it (pkg/kubelet/cm, cgroup v2)."""
CONTAINER = """
echo $$ >"$1/cgroup.procs" && shift
exec unshare --cgroup --mount sh -c '
    umount --lazy /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"
' sh "$@"
"""
Seen = dict[str, list[str]]


def check_a_kubelet_finds_every_controller_that_it_insists_on() -> None:
    found = cgroups.mounted()
    (root,) = found.roots
    offered = set(words(root / "cgroup.controllers"))
    assert offered >= KUBELETS
    try:
        name = cgroups.make_node_root(found, "node-1")
        assert set(words(root / name.lstrip("/") / "cgroup.controllers")) >= KUBELETS
    finally:
        cgroups.remove(found)
    assert not (root / "localcluster").exists()


def check_who_is_in_a_containers_root_moves_aside_and_comes_back() -> None:
    group = delegated() / "machine"
    group.mkdir()
    done = subprocess.run(
        ("sh", "-c", CONTAINER, "sh", str(group), sys.executable, __file__),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    group.rmdir()
    assert done.returncode == 0, done.stderr
    before, during, after = json.loads(done.stdout)
    assert len(before["processes"]) == 2, "in the root of what looks like a whole machine"
    assert (before["controllers"], before["aside"]) == ([], [])
    assert during["processes"] == []
    assert sorted(during["controllers"]) == ["cpu", "cpuset", "memory"]
    assert during["aside"] == before["processes"]
    assert after == before


def container() -> None:
    """Start and end what a node stands on, and print what the container's root was like."""
    with subprocess.Popen(("sleep", "300")) as other:
        try:
            found = cgroups.mounted()
            (root,) = found.roots
            before = seen(root)
            cgroups.make_node_root(found, "node-1")
            during = seen(root)
            cgroups.remove(found)
            sys.stdout.write(json.dumps((before, during, seen(root))))
        finally:
            other.kill()


def seen(root: Path) -> Seen:
    """Return who is in a root, what its children may use, and who moved aside."""
    aside = root / "localcluster-aside" / "cgroup.procs"
    return {
        "processes": sorted(words(root / "cgroup.procs")),
        "controllers": words(root / "cgroup.subtree_control"),
        "aside": sorted(words(aside)) if aside.exists() else [],
    }


def words(file: Path) -> list[str]:
    """Return the words of a file."""
    return file.read_text().split()


if __name__ == "__main__":
    container()
