"""What a kubelet is shown of the processors."""

from pathlib import Path

import pytest

from localcluster import topology
from localcluster.cpus import parse_list


@pytest.mark.parametrize(
    ("processors", "cores"),
    [("0,1", ["0,1", "2,3"]), ("0-7", ["0,1", "8,9"]), ("2,5", ["2,5", "6,7"])],
)
def test_two_real_processors_are_a_core_and_two_that_are_not_there_another(
    processors: str, cores: list[str]
) -> None:
    assert topology.siblings(parse_list(processors)) == tuple(map(parse_list, cores))


def test_the_files_are_laid_out_as_the_kernel_does(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    (truth / "node0").mkdir(parents=True)
    (truth / "node0" / "meminfo").write_text("Node 0 MemTotal: 7 kB\n")
    (truth / "node0" / "distance").write_text("10\n")
    shown = tmp_path / "shown"

    topology.write(shown, topology.siblings(frozenset({0, 1})), truth)

    found = {
        cpu.parent.parent.name: cpu.read_text() for cpu in shown.glob("node/node0/*/*/core_id")
    }
    assert found == {"cpu0": "0\n", "cpu1": "0\n", "cpu2": "1\n", "cpu3": "1\n"}
    assert (shown / "online").read_text() == "0,1,2,3\n"
    assert (shown / "node" / "node0" / "meminfo").read_text() == "Node 0 MemTotal: 7 kB\n"


def test_folders_with_blanks_can_be_mounted() -> None:
    node, online = topology.mount_commands(Path("/a b"))
    assert node == "mount --bind '/a b/node' /sys/devices/system/node"
    assert online == "mount --bind '/a b/online' /sys/devices/system/cpu/online"
