"""Which nodes the cluster has: two to start with, and those that were added while it runs.

An added node is remembered by a file in its own folder, so it is forgotten with the folder.
Nobody's processors are left for it: what its pods own, pods of other nodes own, too. It shows
where pods are put, and what a kubelet does with them; not that nobody disturbs them.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from localcluster import mounts, node, topology
from localcluster.errors import LocalClusterError, Unsupported
from localcluster.files import write_whole
from localcluster.layout import Layout
from localcluster.node import Node

STARTED = 2
"""Nodes that every cluster has."""
_MARK = "added"


class Kind(StrEnum):
    """What an added node is like."""

    PLAIN = "plain"
    """As node 1 is, and with its processors."""
    SIBLINGS = "siblings"
    """Its kubelet is shown two processors as threads of one core, and gives out whole cores."""


def nodes(layout: Layout) -> list[Node]:
    """Return the nodes that the cluster has, or will have when it is started."""
    started = node.plan(STARTED)
    marks = dict(_read(mark) for mark in layout.state.glob(f"node-*/{_MARK}"))
    return [*started, *(_added(started, index, marks[index]) for index in sorted(marks))]


def add(layout: Layout, kind: Kind) -> Node:
    """Write down one node more, whole or not at all, and return it."""
    have = nodes(layout)
    free = next(index for index in range(1, len(have) + 2) if index not in _indices(have))
    new = _added(have[:STARTED], free, kind)
    folder = layout.node(new.name)
    if folder.exists():  # of one that was never written down, or not taken away to the end
        mounts.refuse_below(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_whole(folder / _MARK, kind)
    return new


def added(layout: Layout, name: str) -> Node:
    """Return an added node; raise LocalClusterError if there is none of that name."""
    found = {each.name: each for each in nodes(layout)[STARTED:]}
    if name not in found:
        raise LocalClusterError(
            f"{name} is none of the nodes that were added ({', '.join(found) or 'there are none'})"
        )
    return found[name]


def _read(mark: Path) -> tuple[int, Kind]:
    """Return the index and the kind of the node that a file tells of."""
    text = mark.read_text(errors="replace")
    try:
        return int(mark.parent.name.rpartition("-")[2]), Kind(text)
    except ValueError:
        raise LocalClusterError(
            f"{mark} says {text[:40]!r}, which is no kind of node ({', '.join(Kind)}): write one "
            "of them there if you know it, or run `down`, which needs no such file, and `up`"
        ) from None


def _added(started: list[Node], index: int, kind: Kind) -> Node:
    first = started[0]
    if kind is Kind.PLAIN:
        return replace(first, index=index)
    if len(first.all_cpus) < 2:  # noqa: PLR2004  threads of a core
        raise Unsupported("two processors are needed to show them as the threads of one core")
    cores = topology.siblings(first.all_cpus)
    return replace(
        first, index=index, cpus=cores[0], all_cpus=cores[0] | cores[1], shown_cores=cores
    )


def _indices(have: Iterable[Node]) -> set[int]:
    return {each.index for each in have}
