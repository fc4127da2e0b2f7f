"""Which nodes the cluster has, and what the added ones are like."""

from pathlib import Path

import pytest

from localcluster import cpus, node, roster
from localcluster.errors import LocalClusterError, Unsupported
from localcluster.layout import Layout
from localcluster.roster import Kind


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Return a checkout on a machine of two cores."""
    cores = [frozenset({0}), frozenset({1})]
    monkeypatch.setattr(cpus, "online_cores", lambda: cores)
    return Layout(tmp_path)


def names(layout: Layout) -> list[str]:
    return [each.name for each in roster.nodes(layout)]


def test_a_cluster_starts_with_two_nodes(layout: Layout) -> None:
    assert names(layout) == ["node-1", "node-2"]


def test_an_added_node_is_remembered_as_long_as_its_folder_is_there(layout: Layout) -> None:
    for number in (3, 4, 5):
        assert roster.add(layout, Kind.PLAIN).name == f"node-{number}"
    assert names(layout) == ["node-1", "node-2", "node-3", "node-4", "node-5"]
    (layout.node("node-4") / "added").unlink()
    layout.node("node-4").rmdir()
    assert names(layout) == ["node-1", "node-2", "node-3", "node-5"]
    assert roster.add(layout, Kind.SIBLINGS).name == "node-4", "a free name is taken again"
    assert roster.added(layout, "node-4").shown_cores
    assert not roster.added(layout, "node-3").shown_cores


def test_a_node_is_added_whole_or_not_at_all(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(file: Path, text: str) -> None:
        file.write_bytes(text[:2].encode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_short)
        with pytest.raises(KeyboardInterrupt):
            roster.add(layout, Kind.PLAIN)
    assert names(layout) == ["node-1", "node-2"]
    (layout.node("node-3") / "kubelet").mkdir()
    assert roster.add(layout, Kind.SIBLINGS).name == "node-3", "what was begun is in nobody's way"
    assert not (layout.node("node-3") / "kubelet").exists()
    assert names(layout) == ["node-1", "node-2", "node-3"]


@pytest.mark.parametrize("text", ["", "pla", "\0\0"])
def test_a_broken_file_is_named_with_the_way_out(layout: Layout, text: str) -> None:
    roster.add(layout, Kind.PLAIN)
    mark = layout.node("node-3") / "added"
    mark.write_text(text)
    with pytest.raises(LocalClusterError, match=rf"{mark} says .*plain, siblings.*`down`"):
        roster.nodes(layout)


def test_a_plain_node_has_the_processors_of_the_first(layout: Layout) -> None:
    added = roster.add(layout, Kind.PLAIN)
    first, *_ = roster.nodes(layout)
    assert (added.cpus, added.reserved) == (first.cpus, first.reserved)


def test_a_node_of_siblings_reserves_what_is_not_there_and_gives_whole_cores(
    layout: Layout,
) -> None:
    added = roster.add(layout, Kind.SIBLINGS)
    assert added.shown_cores == (frozenset({0, 1}), frozenset({2, 3}))
    config = node.kubelet_config(layout, added, "/localcluster/node-3")
    assert config["reservedSystemCPUs"] == "2,3"
    assert config["cpuManagerPolicyOptions"] == {"full-pcpus-only": "true"}
    assert config["registerWithTaints"] == [
        {"key": "localcluster.workerpool.dev/shown-cores", "effect": "NoSchedule"}
    ]


def test_one_processor_cannot_be_shown_as_two(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "online_cores", lambda: [frozenset({0})])
    with pytest.raises(Unsupported, match="two processors are needed"):
        roster.add(layout, Kind.SIBLINGS)
    assert names(layout) == ["node-1", "node-2"]


@pytest.mark.parametrize("name", ["node-1", "node-7", "elsewhere"])
def test_only_added_nodes_can_be_taken_away(layout: Layout, name: str) -> None:
    with pytest.raises(LocalClusterError, match=r"none of the nodes that were added \(there are"):
        roster.added(layout, name)
    roster.add(layout, Kind.PLAIN)
    with pytest.raises(LocalClusterError, match=r"were added \(node-3\)"):
        roster.added(layout, name)
