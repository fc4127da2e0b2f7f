"""Nodes that join the local cluster while it runs, and leave it again."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from localcluster import cgroups, network, roster
from localcluster.layout import RUN, Layout
from support.product import INDEX, ROOT

AddNode = Callable[[str], str]
"""Add a node of a kind; return its name once it is ready."""


def localcluster(*words: str, seconds: float) -> str:
    """Carry out a verb of the local cluster; return what it printed."""
    command = [sys.executable, "-m", "localcluster", *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def added_nodes() -> Iterator[AddNode]:
    """Add nodes with the worker's image; take them away at the end."""
    with ExitStack() as stack:

        def add(kind: str) -> str:
            name = localcluster("add-node", "--kind", kind, seconds=200).split()[-1]
            stack.callback(_remove, name)
            localcluster("load-image", _worker_archive(), seconds=180)
            return name

        yield add


def remove_left_over() -> None:
    """Take away what an interrupted run added."""
    for left in roster.nodes(Layout(ROOT))[roster.STARTED :]:
        _remove(left.name)


def _remove(name: str) -> None:
    """Take a node away; nothing of it may be left."""
    localcluster("remove-node", name, seconds=240)
    hierarchies = cgroups.mounted()
    groups = [cgroups.component(hierarchies, f"{name}-kubelet")]
    groups += cgroups.node_roots(hierarchies, name)
    left = [path for path in (*groups, ROOT / ".cluster" / name) if path.exists()]
    left += RUN.glob(f"{name}.*")
    assert not left
    assert network.namespace(name) not in network.existing()


def _worker_archive() -> str:
    archive: str = json.loads(INDEX.read_text())["image-worker"]["archive"]
    return str(ROOT / archive)
