import os
from pathlib import Path

import pytest

from image_worker import memory

GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712"


def tree(root: Path, limits: dict[str, str]) -> Path:
    for name, value in limits.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return root


def member(folder: Path, text: str) -> Path:
    file = folder / "membership"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("limits", "membership", "expected"),
    [
        ({"memory.max": str(GIB)}, "0::/\n", GIB),
        ({"memory.max": "max"}, "0::/\n", None),
        ({}, "0::/\n", None),
        ({"a/b/memory.max": str(GIB)}, "0::/a/b\n", GIB),
        ({"a/b/memory.max": str(GIB), "a/memory.max": str(GIB // 2)}, "0::/a/b\n", GIB // 2),
        ({"a/b/memory.max": "max", "a/memory.max": str(GIB // 2)}, "0::/a/b\n", GIB // 2),
        # The host's path, in a container that sees its own cgroup as the root.
        ({"memory.max": str(GIB)}, "0::/kubepods/pod1/c1\n", GIB),
        ({"memory/memory.limit_in_bytes": str(GIB)}, "4:memory:/kubepods/x\n0::/\n", GIB),
        ({"memory/x/memory.limit_in_bytes": str(GIB)}, "4:cpu,memory:/x\n", GIB),
        ({"memory/memory.limit_in_bytes": UNLIMITED_V1}, "4:memory:/\n", None),
        ({"memory/memory.limit_in_bytes": str(GIB)}, "4:cpu:/\n", None),
    ],
)
def test_the_containers_limit_is_read_from_either_version_of_cgroups(
    tmp_path: Path, limits: dict[str, str], membership: str, expected: int | None
) -> None:
    cgroups = tree(tmp_path / "cgroups", limits)
    assert memory.granted(cgroups, member(tmp_path, membership)) == expected


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert memory.granted(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize("total", [GIB // 2, GIB, 16 * GIB])
@pytest.mark.parametrize("children", [1, 2, 7])
def test_all_children_and_the_supervisor_fit_the_container(total: int, children: int) -> None:
    each = memory.share(total, children)
    if each > memory.LEAST:
        assert children * each + memory.RESERVE <= total
        assert children * (each + 1) + memory.RESERVE > total - children
    else:
        assert (total - memory.RESERVE) / children <= memory.LEAST


def test_who_carries_to_a_child_needs_memory_too() -> None:
    alone, carried = (memory.share(GIB, 3, carried=carried) for carried in (False, True))
    assert alone - carried == memory.CARRIER


@pytest.mark.parametrize("carriers", [0, 1])
@pytest.mark.parametrize("children", [1, 2, 7])
def test_a_container_too_small_is_told_with_what_to_write_instead(
    children: int, carriers: int
) -> None:
    carried = bool(carriers)
    tight = memory.RESERVE + children * (memory.LEAST + carriers * memory.CARRIER)
    for total in (tight, 16 * GIB, None):
        each = memory.share(total, children, carried=carried)
        assert memory.shortage(total, children, each, carried=carried) is None
    each = memory.share(tight - 1, children, carried=carried)
    told = memory.shortage(tight - 1, children, each, carried=carried)
    assert told is not None
    assert f"spec.memory: {tight >> 20}Mi" in told
    assert memory.share(tight, children, carried=carried) == memory.LEAST, "the remedy helps"


def test_children_that_were_promised_too_much_are_told_too() -> None:
    assert memory.shortage(GIB, 2, GIB // 3) is None
    assert "spec.memory: 1088Mi" in str(memory.shortage(GIB, 2, GIB // 2))


def test_where_nobody_set_a_limit_a_child_has_one_all_the_same() -> None:
    assert memory.share(None, 64) == memory.WITHOUT_LIMIT


def test_a_process_knows_how_much_it_may_still_take() -> None:
    assert memory.room() is None
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            memory.limit(4 * GIB)
            before = memory.room()
            block = bytes(GIB)  # of pages that nobody touches
            after = memory.room()
            assert before is not None
            assert after is not None
            assert len(block) <= before - after <= len(block) + (1 << 20)
            memory.limit(8 * GIB)  # what was limited stays so
            assert memory.room() == after
            os.write(writer, b"fine")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        assert answers.read() == b"fine"
    os.waitpid(pid, 0)
