from pathlib import Path

import pytest

from image_worker.cores import Grant, granted, plan
from image_worker.settings import CpuPolicy

EXCLUSIVE, SHARED = CpuPolicy.EXCLUSIVE, CpuPolicy.SHARED


@pytest.mark.parametrize(
    ("policy", "cpus", "quota", "slots", "pinned"),
    [
        (EXCLUSIVE, {3}, None, (3,), True),
        (EXCLUSIVE, {3}, 1.0, (3,), True),
        (EXCLUSIVE, {5, 2, 9}, None, (2, 5, 9), True),
        (EXCLUSIVE, {2, 5}, 2.0, (2, 5), True),
        # A quota below the affinity: the kubelet's CPU manager gave no core away.
        (EXCLUSIVE, set(range(64)), 1.0, (None,), False),
        (EXCLUSIVE, set(range(64)), 2.0, (None, None), False),
        (EXCLUSIVE, {0, 1}, 0.5, (None,), False),
        (SHARED, {0, 1, 2, 3}, None, (None,), False),
        (SHARED, {0, 1, 2, 3}, 0.25, (None,), False),
    ],
)
def test_children_are_laid_on_the_cores_that_were_really_given(
    policy: CpuPolicy,
    cpus: set[int],
    quota: float | None,
    slots: tuple[int | None, ...],
    *,
    pinned: bool,
) -> None:
    layout = plan(policy, Grant(frozenset(cpus), quota))
    assert layout.slots == slots
    assert layout.pinned is pinned


def test_an_exclusive_pool_without_exclusive_cores_says_what_to_look_at() -> None:
    layout = plan(EXCLUSIVE, Grant(frozenset(range(4)), 1.0))
    assert "CPU manager static" in layout.sentence


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "25000 100000\n"}, 0.25),
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
    ],
)
def test_the_quota_of_either_cgroup_version_is_read(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert granted(tmp_path).quota_cores == quota
    assert granted(tmp_path).cpus
