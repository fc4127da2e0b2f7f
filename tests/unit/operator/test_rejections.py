"""What it means that a node turned pods away: how few are tried, how soon, and what helps."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support.stock import NOW, ONE_CORE, pod, rejected
from workerpool_operator.capacity import places
from workerpool_operator.model import Places


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


def test_the_remedy_for_hyper_threading_is_named() -> None:
    found = places(ONE_CORE, 5, [rejected("r", 1, "SMTAlignmentError")], NOW)

    assert "spec.cpu.cores: 2" in found.refusal
    assert "full-pcpus-only" in found.refusal
    other = places(ONE_CORE, 5, [rejected("r", 1)], NOW)
    assert "n1 turned a pod away (UnexpectedAdmissionError: not enough cpus)" in other.refusal


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
