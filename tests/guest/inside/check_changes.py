"""The cores change while the worker works: cpusets, hot-unplug, quotas, memory."""

from pathlib import Path

from guest.inside import kernel
from guest.inside.pod import JOBS, ONE, PATIENCE, Pod
from support import planned_supervisor
from support.waiting import eventually

WHOLE = ONE | {"cpu.max": "max 100000"}


def check_processes_follow_a_cpuset_that_is_moved(folder: Path) -> None:
    with Pod(folder, limits=WHOLE | {"cpuset.cpus": "0-1"}) as pod:
        pod.laid("0", "1")
        pod.limit(cpuset_cpus="2-3")
        records = pod.laid("2", "3")
        assert {record["numa"] for record in records} == {"1"}
        assert {record["siblings"] for record in records} == {"2-3"}
        assert sorted(record["cpu"] for record in records) == ["2", "3"]
        pod.limit(cpuset_cpus="3")
        pod.laid("3", "3")
        pod.do(*JOBS)
        pod.limit(cpuset_cpus="1-3")
        eventually(
            lambda: len({kernel.allowed(child) for child in pod.children}) == 2,
            lambda: pod.supervisor.log,
            seconds=PATIENCE,
        )


def check_processes_leave_a_core_that_is_unplugged_and_come_back(folder: Path) -> None:
    with Pod(folder, limits=WHOLE | {"cpuset.cpus": "2-3"}) as pod:
        pod.laid("2", "3")
        kernel.switch(3, on=False)
        records = pod.laid("2", "2")
        pod.do(*JOBS)
        assert {record["siblings"] for record in records} == {kernel.siblings(2)} == {"2"}
        kernel.switch(3, on=True)
        records = pod.laid("2", "3")
        assert {record["siblings"] for record in records} == {kernel.siblings(2)} == {"2-3"}
        assert {record["numa"] for record in records} == {"1"}


def check_a_pod_whose_only_core_is_unplugged_goes_on_and_claims_nothing(folder: Path) -> None:
    with Pod(folder, limits=ONE, cores="1") as pod:
        pod.laid("3")
        kernel.switch(3, on=False)
        pod.laid("0-2")
        pod.do(*JOBS)
        kernel.switch(3, on=True)
        pod.laid("3")


def check_a_core_plugged_in_later_is_known_by_its_threads(folder: Path) -> None:
    kernel.switch(3, on=False)
    limits = WHOLE | {"cpuset.cpus": "2-3"}
    with Pod(folder, limits=limits, threads_per_core="2") as pod:
        pod.laid("2")
        kernel.switch(3, on=True)
        (record,) = pod.records(1, lambda records: records[0]["siblings"] == "2-3")
        assert record["affinity"] == "2"
        _, *others = kernel.threads(pod.main)
        eventually(
            lambda: {kernel.allowed(thread) for thread in others} == {"3"},
            lambda: [kernel.allowed(thread) for thread in others],
            seconds=PATIENCE,
        )


def check_throttling_is_what_the_cgroup_counted(folder: Path) -> None:
    limits = {"cpu.max": "max 100000", "memory.max": str(512 << 20)}
    with Pod(folder, limits=limits, cpu_policy="Shared") as pod:
        pod.records(1)  # it has started: a fifth of a slow processor takes too long to
        pod.limit(cpu_max="20000 100000")
        pod.queue.push(*JOBS * 20)
        (record,) = pod.records(1, lambda records: float(records[0]["throttled"] or 0) > 0)
        assert 0 < float(record["throttled"]) <= 1
        stat = pod.cgroup / "cpu.stat"
        assert int(kernel.field(stat, "nr_throttled")) > 0
        assert int(kernel.field(stat, "throttled_usec")) > 0


def check_a_child_dies_before_its_supervisor_where_memory_runs_out(folder: Path) -> None:
    """With `memory.oom.group` 0: kubelets with `singleProcessOOMKill`, and before 1.28."""
    with Pod(folder, limits=ONE, command=planned_supervisor.COMMAND) as pod:
        pod.records(1)
        main, (child,) = pod.main, pod.children
        held = int((pod.cgroup / "memory.current").read_text())
        # So little that the child is the smaller one when it dies: not its size decides.
        pod.limit(memory_max=str(held + (2 << 20)))
        pod.queue.push('{"filename": "IMG_0001.jpg", "plan": "keep:64"}')
        eventually(lambda: child not in pod.processes(), "the child killed", seconds=PATIENCE)
        pod.limit(memory_max=str(512 << 20))
        eventually(
            lambda: pod.queue.stats.get("done") == 1,
            lambda: pod.supervisor.log,
            seconds=PATIENCE,
        )
        pod.do(*JOBS)
        assert pod.main == main
        assert int(kernel.field(pod.cgroup / "memory.events", "oom_kill ")) >= 1


def check_no_job_is_lost_where_memory_runs_out_and_all_die_together(folder: Path) -> None:
    """With `memory.oom.group` 1, as kubelets since 1.28 make their containers."""
    command = planned_supervisor.COMMAND
    with Pod(folder, limits=ONE | {"memory.oom.group": "1"}, command=command) as pod:
        pod.records(1)
        pod.queue.push('{"filename": "IMG_0001.jpg", "plan": "sleep:3600"}')
        eventually(lambda: pod.queue.members("inflight"), "in flight", seconds=PATIENCE)
        pod.squeeze(pod.children[0])
        eventually(lambda: not pod.processes(), "all of them killed", seconds=PATIENCE)
        assert int(kernel.field(pod.cgroup / "memory.events", "oom_group_kill ")) == 1
    with Pod(folder, limits=ONE) as pod:
        done = eventually(lambda: pod.queue.stats.get("done"), "the job done", seconds=PATIENCE)
        assert done == 1
        assert pod.queue.stats["crashed"] == 1
