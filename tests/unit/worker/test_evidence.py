import os
from pathlib import Path

import pytest

from image_worker import evidence
from image_worker.cores import Grant
from image_worker.evidence import Counters, Witness, rates
from image_worker.machine import Kind, Topology, Virtualisation
from image_worker.settings import CpuPolicy

SCHED = """process_api (1, #threads: 14)
-------------------------------------------------------------------
se.exec_start                                :      12499289.005220
se.vruntime                                  :       7092304.841288
se.nr_migrations                             :                  108
nr_switches                                  :                  621
nr_involuntary_switches                      :                   54
"""
STATUS = "Name:\tpython\nvoluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t412\n"
STAT = """cpu  728009 352837 334051 1032253 22366 0 17310 38622 0 0
cpu0 100 0 100 700 0 0 0 100 0 0
cpu1 200 0 0 790 0 0 0 10 50 0
cpu10 0 0 0 0 0 0 0 500 0 0
intr 12 0 1
"""
CPU = frozenset({0})


def test_the_kernels_counters_are_read() -> None:
    assert evidence.number(SCHED, "se.nr_migrations") == 108
    assert evidence.number(STATUS, "nonvoluntary_ctxt_switches") == 412
    assert evidence.waited("200439659 15000000 621\n") == 0.015
    assert evidence.steal(STAT, frozenset({0})) == (100, 1000)
    assert evidence.steal(STAT, frozenset({0, 1})) == (110, 2000)


def test_what_a_kernel_does_not_say_is_unknown() -> None:
    assert evidence.number("", "se.nr_migrations") is None
    assert evidence.waited("") is None
    assert evidence.steal("cpu0 1 2 3\n", CPU) is None, "a kernel of 2.4 has no steal"
    assert evidence.steal(STAT, frozenset({7})) is None


FIRST = Counters(100.0, 7, CPU, 5, 40, 1.0, 2.0, 10, 1000)
SECOND = Counters(110.0, 7, CPU, 25, 45, 2.5, 3.0, 60, 2000)


def test_two_looks_make_a_rate() -> None:
    assert rates(FIRST, SECOND) == {
        "migrations_per_second": "2",
        "switches_per_second": "0.5",
        "waited": "0.15",
        "throttled": "0.1",
        "stolen": "0.05",
    }


@pytest.mark.parametrize(
    "before",
    [
        None,
        Counters(100.0, 8, CPU, 5, 40, 1.0, 2.0, 10, 1000),  # another process
        Counters(100.0, 7, frozenset({1}), 5, 40, 1.0, 2.0, 10, 1000),  # on another core
        Counters(100.0, 7, CPU),  # that kernel said nothing
        Counters(110.0, 7, CPU, 5, 40, 1.0, 2.0, 10, 2000),  # no time has passed
    ],
)
def test_without_two_looks_at_the_same_nothing_is_claimed(before: Counters | None) -> None:
    assert set(rates(before, SECOND).values()) == {""}


def test_a_part_of_the_time_is_never_more_than_all_of_it() -> None:
    """A starved child was seen to wait for 1.041 of its time."""
    last = Counters(120.0, 7, CPU, 25, 45, 12.91, 23.0, 60, 3000)
    said = rates(SECOND, last)
    assert (said["waited"], said["throttled"]) == ("1", "1")


def test_counters_that_go_back_are_no_negative_rate() -> None:
    """A hypervisor that moves a machine may do that to steal."""
    assert rates(SECOND, Counters(120.0, 7, CPU, 25, 45, 2.5, 3.0, 50, 3000))["stolen"] == "0"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_tells_of_this_very_process() -> None:
    clock = Clock()
    cpus = os.sched_getaffinity(0)
    topology = Topology({cpu: frozenset({cpu}) for cpu in cpus}, dict.fromkeys(cpus, 0))
    grant = Grant(frozenset({2, 6}), None, frozenset(range(8)))
    witness = Witness(
        CpuPolicy.EXCLUSIVE, lambda: grant, lambda: topology, Virtualisation(Kind.KVM), clock
    )
    first = witness.testify("w", os.getpid())
    assert (first["policy"], first["virtualisation"], first["numa"]) == ("Exclusive", "kvm", "0")
    assert first["affinity"] == first["siblings"] != ""
    assert (first["granted"], first["online"]) == ("2,6", "0-7")
    assert first["switches_per_second"] == ""
    clock.now = evidence.SAMPLE_SECONDS - 1
    assert witness.testify("w", os.getpid()) is first, "read too soon"
    clock.now = evidence.SAMPLE_SECONDS + 1
    assert float(witness.testify("w", os.getpid())["switches_per_second"]) >= 0


def test_a_child_that_is_gone_leaves_what_was_said_last() -> None:
    grant = Grant(frozenset({0}), None)
    witness = Witness(CpuPolicy.SHARED, lambda: grant, Topology, Virtualisation(Kind.VM), Clock())
    assert witness.testify("w", None) == {}
    said = witness.testify("w", os.getpid())
    assert said["policy"] == "Shared"
    assert witness.testify("w", None) == said
    assert witness.testify("w", int(Path("/proc/sys/kernel/pid_max").read_text())) == said
