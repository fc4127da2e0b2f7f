"""Which node owns which processors."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.cpus import online_cores, parse_list, render_list, split


def threads(*cores: str) -> list[frozenset[int]]:
    return [parse_list(core) for core in cores]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", set()),
        ("0\n", {0}),
        ("0-3", {0, 1, 2, 3}),
        ("0,2-3,7\n", {0, 2, 3, 7}),
    ],
)
def test_the_kernels_lists_are_read(text: str, cpus: set[int]) -> None:
    assert parse_list(text) == cpus


@pytest.mark.parametrize(
    ("cores", "nodes", "parts"),
    [
        (threads("0", "1"), 2, ["1", "0"]),
        (threads("0", "1", "2", "3"), 2, ["2,3", "0,1"]),
        (threads("0", "1", "2"), 2, ["2", "1"]),
        (threads("0,4", "1,5", "2,6", "3,7"), 2, ["2,3,6,7", "0,1,4,5"]),
        (threads("0,1"), 2, ["1", "0"]),
        (threads("0"), 2, ["", ""]),
    ],
    ids=[
        "two cores, one each",
        "four cores, two each",
        "an odd core is the system's",
        "sibling threads stay together",
        "two threads of one core are dealt out",
        "one processor is nobody's",
    ],
)
def test_processors_are_split_evenly(
    cores: list[frozenset[int]], nodes: int, parts: list[str]
) -> None:
    assert [render_list(part) for part in split(cores, nodes)] == parts


@given(st.integers(1, 64), st.integers(1, 2), st.integers(1, 8))
def test_no_processor_has_two_owners_and_no_node_has_more_than_another(
    count: int, siblings: int, nodes: int
) -> None:
    cores = [frozenset(range(i * siblings, (i + 1) * siblings)) for i in range(count)]
    parts = split(cores, nodes)
    owned = [cpu for part in parts for cpu in part]
    assert len(parts) == nodes
    assert len(owned) == len(set(owned))
    assert len({len(part) for part in parts}) == 1
    if count >= nodes:
        assert all(core <= part or not core & part for core in cores for part in parts)


def test_offline_threads_are_no_part_of_a_core(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("0-2\n")
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2"]):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings)
    assert sorted(online_cores(tmp_path), key=min) == [{0, 2}, {1}]
