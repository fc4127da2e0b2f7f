"""What a kubelet is shown of this machine's processors where that is not the truth.

Knows the few files of /sys that a kubelet reads cores from, and how to put others in their place
in a node's mount namespace. The kernel, and with it every pod, goes by what is true.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from localcluster.cpus import render_list

_NODES = Path("/sys/devices/system/node")
_ONLINE = Path("/sys/devices/system/cpu/online")


def siblings(processors: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Return two cores of two threads: a pair of real processors, and one that is not there.

    The second is for what a kubelet has to reserve: nothing may ever run on it.
    """
    first, second, *_ = sorted(processors)
    beyond = max(processors) + 1
    return frozenset({first, second}), frozenset({beyond, beyond + 1})


def write(folder: Path, cores: Sequence[frozenset[int]], truth: Path = _NODES) -> None:
    """Write the files that show `cores`, sets of sibling threads, all on one NUMA node."""
    numa = folder / "node" / "node0"
    for number, threads in enumerate(cores):
        for cpu in threads:
            topology = numa / f"cpu{cpu}" / "topology"
            topology.mkdir(parents=True, exist_ok=True)
            (topology / "core_id").write_text(f"{number}\n")
            (topology / "physical_package_id").write_text("0\n")
    for name in ("meminfo", "distance"):
        (numa / name).write_text((truth / "node0" / name).read_text())
    everything = frozenset[int]().union(*cores)
    (folder / "online").write_text(f"{render_list(everything)}\n")


def mount_commands(folder: Path) -> list[str]:
    """Return the shell lines that put the written files in the place of the true ones."""
    pairs = ((folder / "node", _NODES), (folder / "online", _ONLINE))
    return [f"mount --bind {shlex.quote(str(ours))} {theirs}" for ours, theirs in pairs]
