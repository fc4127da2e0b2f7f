"""What it means that a node turned pods away: how few are tried, how soon, and what helps."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support.stock import NOW, ONE_CORE, pod, rejected
from workerpool_operator import rejections
from workerpool_operator.capacity import places
from workerpool_operator.model import Places
from workerpool_operator.stock import REJECTIONS


@pytest.mark.parametrize(
    ("ages", "held"),
    [
        ([9], True),
        ([11], False),
        ([11, 200], True),  # twice as long after the second
        ([21, 200], False),
        ([9, 12, 13, 13, 17], True),  # of one attempt, that ended when the last was turned away
        ([11, 12, 13, 13, 17], False),
        ([19, 21, 27, 28], True),  # of two
        ([21, 22, 27, 28], False),
        ([299, *range(400, 490, 10)], True),  # five minutes at most
        ([301, *range(400, 490, 10)], False),
        ([15, *range(1900, 1990, 10)], False),  # half an hour later they do not count
    ],
)
def test_after_a_rejection_nobody_is_tried_for_a_while_and_longer_each_time(
    ages: list[float],
    held: bool,  # noqa: FBT001  a column of the table
) -> None:
    refused = [rejected(f"r{number}", ago) for number, ago in enumerate(ages)]
    works = pod("works", since=NOW - timedelta(hours=1))

    found = places(ONE_CORE, 5, [*refused, works], NOW)

    assert (found.total, found.tried) == ((1, 0) if held else (2, 1))


SMT = "SMTAlignmentError"
MULTIPLE = (
    "Pod was rejected: SMT Alignment Error: requested {} cpus not multiple cpus per core = {}"
)


@pytest.mark.parametrize(
    ("reason", "message", "cores", "remedy"),
    [
        (SMT, MULTIPLE.format(1, 2), 1, "set spec.cpu.cores: 2 and spec.cpu.threadsPerCore: 2"),
        (SMT, MULTIPLE.format(3, 2), 3, "set spec.cpu.cores: 4 and spec.cpu.threadsPerCore: 2"),
        (SMT, MULTIPLE.format(6, 8), 6, "set spec.cpu.cores: 8 and spec.cpu.threadsPerCore: 8"),
        (SMT, "in other words", 1, "spec.cpu.threadsPerCore to the hardware threads of its cores"),
        (
            SMT,
            "SMT Alignment Error: not enough free physical CPUs: … CPUs per core = 2",
            2,
            "reserve all hardware threads of a core or none (reservedSystemCPUs)",
        ),
        (
            "UnexpectedAdmissionError",
            "Allocate failed due to not enough cpus available to satisfy request: requested=1",
            1,
            "look on the node who has them (/var/lib/kubelet/cpu_manager_state)",
        ),
        (
            "UnexpectedAdmissionError",
            "Allocate failed due to no devices of example.com/gpu, which is unexpected",
            1,
            "not about cores, so see kubectl describe pod",
        ),
        (
            "TopologyAffinityError",
            "Resources cannot be allocated with Topology locality",
            4,
            "topologyManagerPolicy to best-effort",
        ),
        ("OutOfcpu", "Node didn't have enough resource: cpu", 1, "static pods, spec.nodeName"),
    ],
)
def test_each_rejection_is_told_with_its_remedy(
    reason: str, message: str, cores: int, remedy: str
) -> None:
    refused = replace(rejected("r", 1, reason), message=message, worker_cpu=1000 * cores)
    found = places(replace(ONE_CORE, cores=cores), 5, [refused], NOW)

    assert remedy in found.refusal
    assert "the node n1" in found.refusal
    assert reason in found.refusal


def test_every_reason_that_is_looked_for_has_a_remedy() -> None:
    assert {*REJECTIONS} == {*rejections._REMEDIES}  # noqa: SLF001  it is what is tested


def test_what_a_node_has_not_answered_for_has_no_place_after_a_rejection() -> None:
    """It was made instead of the one that was turned away, and is about to be turned away."""
    pods = [rejected("r", 1), pod("works"), pod("next", admitted=False)]

    assert places(ONE_CORE, 5, pods, NOW).total == 1


def test_each_pod_that_is_taken_in_lets_one_more_be_tried() -> None:
    pods = [rejected("r", 60), pod("old", since=NOW - timedelta(hours=1))]
    assert places(ONE_CORE, 50, pods, NOW).tried == 1
    pods.append(pod("first", since=NOW - timedelta(seconds=5)))
    assert places(ONE_CORE, 49, pods, NOW).tried == 2
    pods += [pod("second"), pod("third")]
    found = places(ONE_CORE, 47, pods, NOW)
    assert (found.total, found.tried) == (8, 4)
    assert places(ONE_CORE, 0, pods, NOW).tried == 1, "one waits, for an autoscaler to see"


def test_after_half_an_hour_a_rejection_is_forgotten() -> None:
    assert places(ONE_CORE, 5, [rejected("r", 1799)], NOW).tried == 1
    assert places(ONE_CORE, 5, [rejected("r", 1801)], NOW) == Places(5, cores=1)


def test_a_pool_that_asks_for_other_cores_now_is_not_held() -> None:
    refused = [rejected("r", 1, "SMTAlignmentError")]

    assert places(replace(ONE_CORE, cores=2), 5, refused, NOW) == Places(5, cores=2)
