"""Control groups, read from a table and from folders that look like them."""

from pathlib import Path

import pytest

from localcluster.cgroups import Hierarchies, parse_mounts, processes
from localcluster.errors import Unsupported

FIRST = """\
tmpfs /sys/fs/cgroup tmpfs ro 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
"""
SECOND = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"
HYBRID = FIRST + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"


def test_one_mount_of_the_second_version_is_the_only_root() -> None:
    assert parse_mounts(SECOND) == Hierarchies(2, (Path("/sys/fs/cgroup"),))


def test_a_hybrid_is_the_first_version_whose_groups_exist_everywhere() -> None:
    found = parse_mounts(HYBRID)
    assert found.version == 1
    assert [root.name for root in found.roots] == ["cpu,cpuacct", "systemd", "pids", "unified"]


@pytest.mark.parametrize("mounts", [FIRST, HYBRID])
def test_components_are_told_apart_where_kubelets_do_not_look(mounts: str) -> None:
    assert parse_mounts(mounts).processes.name in {"systemd", "pids"}


@pytest.mark.parametrize(
    "mounts", ["", "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"], ids=["none", "only cpu"]
)
def test_a_machine_without_usable_control_groups_is_refused(mounts: str) -> None:
    with pytest.raises(Unsupported):
        parse_mounts(mounts)


def test_a_group_that_is_gone_has_no_processes(tmp_path: Path) -> None:
    assert processes(tmp_path / "gone") == []


def test_a_groups_processes_are_listed(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("12\n345\n")
    assert processes(tmp_path) == [12, 345]
