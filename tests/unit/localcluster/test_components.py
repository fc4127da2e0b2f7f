"""Whether a component lives: its process id must be found in its own control group."""

from pathlib import Path

import pytest

from localcluster import cgroups, components
from localcluster.components import Component
from localcluster.errors import TimedOut
from localcluster.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A checkout, and a folder in the place of the kernel's control groups."""
    groups = cgroups.Hierarchies(1, (tmp_path / "pids",))
    monkeypatch.setattr(cgroups, "mounted", lambda: groups)
    return Layout(tmp_path / "checkout")


def remembered(layout: Layout, pid: str) -> None:
    folder = layout.state / "run"
    folder.mkdir(parents=True)
    (folder / "etcd.pid").write_text(pid)


def in_group(pids: str) -> None:
    group = cgroups.component(cgroups.mounted(), "etcd")
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(pids)


def test_a_process_in_its_group_is_alive(layout: Layout) -> None:
    remembered(layout, "41\n")
    in_group("40\n41\n")
    assert components.is_alive(layout, "etcd")


def test_a_reused_process_id_is_not_taken_for_ours(layout: Layout) -> None:
    remembered(layout, "1\n")  # some process has this id, and it is not in our group
    in_group("")
    assert not components.is_alive(layout, "etcd")


def test_a_child_that_outlives_its_parent_does_not_count(layout: Layout) -> None:
    remembered(layout, "41\n")
    in_group("42\n")
    assert not components.is_alive(layout, "etcd")


@pytest.mark.parametrize("pid", ["", "not a number"])
def test_a_half_written_process_id_means_dead(layout: Layout, pid: str) -> None:
    remembered(layout, pid)
    in_group("41\n")
    assert not components.is_alive(layout, "etcd")


def test_a_death_names_the_log_and_quotes_its_end(layout: Layout) -> None:
    log = components.log(layout, "etcd")
    log.parent.mkdir(parents=True)
    log.write_text("starting\nno space left on device\n")
    with pytest.raises(TimedOut, match="no space left on device") as death:
        components.check_alive(layout, "etcd")
    assert str(log) in str(death.value)


def test_a_components_command_leads_through_its_namespaces() -> None:
    component = Component(
        "kubelet",
        ("/bin/kubelet", "--v=1"),
        network=Path("/run/netns/n"),
        mounts=Path("/run/m"),
        environment=(("A", "b"),),
    )
    assert component.full_command() == [
        *("nsenter", "--net=/run/netns/n", "--mount=/run/m"),
        *("env", "A=b", "/bin/kubelet", "--v=1"),
    ]
