"""A Guaranteed pod on cgroup v2: what the worker says is what the kernel says."""

from pathlib import Path

import pytest

from guest.inside import kernel
from guest.inside.pod import JOBS, ONE, PATIENCE, PHOTOS, Pod
from support.photos import faults_of_thumbnail
from support.waiting import eventually


def check_the_guest_is_what_the_checks_are_about() -> None:
    assert Path("/sys/fs/cgroup/cgroup.controllers").exists(), "unified cgroups"
    assert [kernel.siblings(cpu) for cpu in range(4)] == ["0-1", "0-1", "2-3", "2-3"]
    assert [kernel.node(cpu) for cpu in range(4)] == ["0", "0", "1", "1"]


def check_one_process_on_the_one_core_of_its_pod(folder: Path) -> None:
    with Pod(folder, limits=ONE) as pod:
        pod.do(*JOBS)
        for photo in PHOTOS:
            file = next((folder / "out").rglob(f"{Path(photo.filename).stem}*"))
            assert faults_of_thumbnail(photo, file, 256) == []
        (record,) = pod.records(1)
        assert (record["cpu"], record["affinity"]) == ("3", "3")
        assert record["siblings"] == kernel.siblings(3)
        assert record["numa"] == kernel.node(3)
        (child,) = pod.children
        assert {kernel.allowed(thread) for thread in kernel.threads(child)} == {"3"}
        started = pod.supervisor.await_line("starting")
        assert started["child_memory_megabytes"] == 512 - 64
        for figure in ("switches_per_second", "migrations_per_second", "stolen", "throttled"):
            assert float(record[figure]) >= 0, figure


def check_the_hypervisor_is_the_one_that_systemd_finds(folder: Path) -> None:
    with Pod(folder, limits=ONE) as pod:
        (record,) = pod.records(1)
    wanted = {"kvm": "kvm", "none": "bare-metal"}.get(name := kernel.hypervisor(), f"vm:{name}")
    assert record["virtualisation"] == wanted


def check_each_process_tells_of_its_own_memory_node(folder: Path) -> None:
    limits = ONE | {"cpuset.cpus": "1-2", "cpu.max": "200000 100000"}
    with Pod(folder, limits=limits, cores="2") as pod:
        records = pod.records(2)
        assert [record["affinity"] for record in records] == ["1", "2"]
        assert [record["siblings"] for record in records] == ["0-1", "2-3"]
        assert [record["numa"] for record in records] == ["0", "1"]
        assert sorted(kernel.allowed(child) for child in pod.children) == ["1", "2"]
        line = pod.supervisor.await_line("starting")
        assert line["child_memory_megabytes"] == (512 - 64) // 2


@pytest.mark.parametrize(
    ("cpus", "slots", "spare"),
    [("2-3", ["2"], "3"), ("0-3", ["0", "2"], "1,3"), ("1-2", ["1", "2"], "")],
)
def check_one_process_for_each_whole_core(
    folder: Path, cpus: str, slots: list[str], spare: str
) -> None:
    """1-2 are halves of two cores: neither has a second thread to spare."""
    limits = ONE | {"cpuset.cpus": cpus, "cpu.max": "max 100000"}
    with Pod(folder, limits=limits, threads_per_core="2") as pod:
        records = pod.records(len(slots))
        assert [record["affinity"] for record in records] == slots
        assert [record["siblings"] for record in records] == [
            kernel.siblings(int(slot)) for slot in slots
        ]
        assert {(record["granted"], record["online"]) for record in records} == {(cpus, "0-3")}
        main, *others = kernel.threads(pod.main)
        assert kernel.allowed(main) == cpus
        if spare:
            eventually(
                lambda: {kernel.allowed(thread) for thread in others} == {spare},
                lambda: [kernel.allowed(thread) for thread in others],
                seconds=PATIENCE,
            )


@pytest.mark.parametrize(
    ("limits", "pod_limits"),
    [
        ({"cpu.max": "100000 100000"}, {}),
        ({}, {"cpu.max": "100000 100000"}),  # only the pod has it: unseen, but for its cores
    ],
)
def check_nothing_is_pinned_where_the_kubelet_gave_no_core_away(
    folder: Path, limits: dict[str, str], pod_limits: dict[str, str]
) -> None:
    with Pod(folder, limits=limits, pod_limits=pod_limits, cores="1") as pod:
        pod.do(*JOBS)
        (record,) = pod.records(1)
        assert (record["cpu"], record["affinity"]) == ("", "0-3")
        assert "no exclusive grant" in pod.supervisor.await_line("starting")["message"]
