from pathlib import Path

import pytest

from image_worker.cores import Grant, Layout, granted, plan, relaid, throttling
from image_worker.machine import Topology
from image_worker.settings import CpuPolicy, CpuSettings

EXCLUSIVE, SHARED = CpuPolicy.EXCLUSIVE, CpuPolicy.SHARED
PLAIN = Topology()
HYPER_THREADED = Topology({cpu: frozenset({cpu % 4, cpu % 4 + 4}) for cpu in range(8)})
"""Four cores of two threads: 0 and 4 are one."""


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
    layout = plan(CpuSettings(policy), Grant(frozenset(cpus), quota), PLAIN)
    assert layout.slots == slots
    assert layout.pinned is pinned
    assert not layout.spare


def test_an_exclusive_pool_without_exclusive_cores_says_what_to_look_at() -> None:
    layout = plan(CpuSettings(EXCLUSIVE), Grant(frozenset(range(4)), 1.0), PLAIN)
    assert "CPU manager static" in layout.sentence


@pytest.mark.parametrize(
    ("cores", "slots"), [(None, tuple(range(8))), (8, tuple(range(8))), (2, (None, None))]
)
def test_more_cores_than_were_asked_for_are_nobodys_own(
    cores: int | None, slots: tuple[int | None, ...]
) -> None:
    """A kubelet that sets no quota and gives no cores away shows a pod all of the node's."""
    grant = Grant(frozenset(range(8)), None)
    assert plan(CpuSettings(EXCLUSIVE, cores), grant, PLAIN).slots == slots


@pytest.mark.parametrize(
    ("cpus", "threads", "slots", "spare"),
    [
        ({0, 4}, 2, (0,), {4}),
        ({0, 4, 1, 5}, 2, (0, 1), {4, 5}),
        ({0, 4, 1, 5}, 1, (0, 1, 4, 5), set()),
        ({0, 1}, 2, (0, 1), set()),  # halves of two cores: no second thread of either is ours
        ({2, 6, 3}, 2, (2, 3), {6}),
        ({0, 4}, 4, (0,), {4}),
    ],
)
def test_one_process_per_physical_core_leaves_its_other_thread_to_the_supervisor(
    cpus: set[int], threads: int, slots: tuple[int, ...], spare: set[int]
) -> None:
    wish = CpuSettings(EXCLUSIVE, threads_per_core=threads)
    layout = plan(wish, Grant(frozenset(cpus), None), HYPER_THREADED)
    assert layout.slots == slots
    assert set(layout.spare) == spare


@pytest.mark.parametrize(
    ("fresh", "before", "slots", "spare"),
    [
        ((0, 1), (0, 1), (0, 1), set()),
        ((1, 2), (0, 1), (2, 1), set()),  # who can stay stays
        ((2, 3), (0, 1), (2, 3), set()),
        ((0,), (0, 1), (0, 0), set()),
        ((5,), (0, 1, 2), (5, 5, 5), set()),
        ((0, 1, 2), (1,), (1,), {0, 2}),
        ((None,), (0, 1), (None, None), set()),
        ((3, 4), (None, None), (3, 4), set()),
    ],
)
def test_when_cores_change_as_few_children_as_possible_move(
    fresh: tuple[int | None, ...],
    before: tuple[int | None, ...],
    slots: tuple[int | None, ...],
    spare: set[int],
) -> None:
    layout = relaid(Layout(fresh, "words"), before)
    assert layout.slots == slots
    assert set(layout.spare) == spare
    assert ("restart" in layout.sentence) is (len(fresh) != len(before) and None not in fresh)
    assert layout.pinned is (None not in slots and len(set(slots)) == len(slots))


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "25000 100000\n"}, 0.25),
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        # Outside a container our own cgroup lies deeper.
        ({"system.slice/w.service/cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/w/cpu.cfs_quota_us": "50000\n", "cpu/w/cpu.cfs_period_us": "100000\n"}, 0.5),
        # A slice with CPUQuota=, around a service with none or with a larger one.
        ({"system.slice/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "system.slice/cpu.max": "50000 100000\n",
                "system.slice/w.service/cpu.max": "max 100000\n",
            },
            0.5,
        ),
        (
            {
                "system.slice/cpu.max": "300000 100000\n",
                "system.slice/w.service/cpu.max": "200000 100000\n",
            },
            2.0,
        ),
    ],
)
def test_the_quota_of_either_cgroup_version_is_read(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    grant = granted(*kernel(tmp_path, files))
    assert grant.quota_cores == quota
    assert grant.cpus


@pytest.mark.parametrize(
    "name",
    [
        "cpuset.cpus.effective",
        "system.slice/w.service/cpuset.cpus.effective",
        "cpuset/cpuset.cpus",
        "cpuset/w/cpuset.effective_cpus",
    ],
)
def test_the_cpuset_of_either_cgroup_version_narrows_the_affinity(
    tmp_path: Path, name: str
) -> None:
    all_of_them = sorted(granted(tmp_path, tmp_path / "own").cpus)
    files = kernel(tmp_path, {name: f"{all_of_them[0]}\n"})
    assert granted(*files).cpus == {all_of_them[0]}


def test_a_cpuset_that_cannot_be_ours_is_ignored(tmp_path: Path) -> None:
    files = kernel(tmp_path, {"cpuset.cpus.effective": "4095\n"})
    assert granted(*files).cpus == granted(tmp_path, tmp_path / "own").cpus


def test_a_cpu_that_is_unplugged_changes_the_grant(tmp_path: Path) -> None:
    online = tmp_path / "online"
    seen = []
    for text in ("0-3\n", "0-2\n"):
        online.write_text(text)
        seen.append(granted(tmp_path, tmp_path / "own", online))
    assert [grant.online for grant in seen] == [{0, 1, 2, 3}, {0, 1, 2}]
    assert seen[0] != seen[1], "its sibling has its core alone now, whether granted or not"


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({}, None),
        ({"cpu.stat": "usage_usec 1\nnr_periods 9\nthrottled_usec 2500000\n"}, 2.5),
        ({"cpu.stat": "usage_usec 1\nuser_usec 1\n"}, None),  # no quota, no such lines
        ({"cpu/cpu.stat": "nr_periods 9\nthrottled_time 1500000000\n"}, 1.5),
        (
            {
                "system.slice/w.service/cpu.stat": "usage_usec 1\nthrottled_usec 0\n",
                "system.slice/cpu.stat": "usage_usec 1\nthrottled_usec 500000\n",
            },
            0.5,
        ),
    ],
)
def test_the_time_a_quota_held_us_back_is_read(
    tmp_path: Path, files: dict[str, str], seconds: float | None
) -> None:
    assert throttling(*kernel(tmp_path, files)) == seconds


def kernel(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Write what a kernel would show, and return where."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = folder / "own"
    own.write_text("4:cpuset:/w\n2:cpu,cpuacct:/w\n0::/system.slice/w.service\n")
    return folder, own
