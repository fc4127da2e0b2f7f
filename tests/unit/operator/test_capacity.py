"""How many more pods the nodes have room for, and how few more are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from support.stock import GIB, NOW, ONE_CORE, node
from support.workerpools import stored
from workerpool_operator.amounts import Amount
from workerpool_operator.capacity import Needs, count, parse_needs, promise, room
from workerpool_operator.decide import decide
from workerpool_operator.model import Backlog, Observation, Places, Policy, Reason
from workerpool_operator.resource import parse
from workerpool_operator.stock import Node
from workerpool_operator.suitability import Wishes
from workerpool_operator.workload import deployment

# --- room


def _free(needs: Needs, nodes: Sequence[Node], taken: Mapping[str, Amount] | None = None) -> int:
    return count(needs, room(needs, nodes, taken or {}), {})


@pytest.mark.parametrize(
    ("allocatable", "taken", "free"),
    [
        (Amount(4000, 16 * GIB, 110), Amount(0, 0, 0), 4),
        (Amount(3900, 16 * GIB, 110), Amount(0, 0, 0), 3),
        (Amount(4000, 16 * GIB, 110), Amount(1, 0, 1), 3),
        (Amount(4000, 16 * GIB, 110), Amount(4000, 0, 4), 0),
        (Amount(4000, 16 * GIB, 110), Amount(9000, 0, 4), 0),
        (Amount(4000, GIB, 110), Amount(0, 0, 0), 2),
        (Amount(4000, 16 * GIB, 3), Amount(0, 0, 2), 1),
    ],
)
def test_a_node_has_room_for_what_fits_in_every_respect(
    allocatable: Amount, taken: Amount, free: int
) -> None:
    assert _free(ONE_CORE, [Node(node().traits, allocatable)], {"n1": taken}) == free


def test_room_is_counted_node_by_node() -> None:
    """Half a core here and half a core there are no core."""
    nodes = [node("a", 1500), node("b", 1500), node("c", 500)]

    assert _free(ONE_CORE, nodes) == 2


def test_only_nodes_that_suit_are_counted() -> None:
    needs = replace(ONE_CORE, wishes=Wishes(selector=(("disk", "ssd"),)))

    assert _free(needs, [node("a"), node("b", labels={"disk": "ssd"})]) == 4


def test_what_others_were_promised_is_not_free() -> None:
    nodes = [node("a", 2000), node("b", 4000)]
    free, promised = room(ONE_CORE, nodes, {}), dict[str, Amount]()

    promise(ONE_CORE, 3, free, promised)
    assert promised == {"b": ONE_CORE.amount.times(3)}, "the emptiest node first"
    assert count(ONE_CORE, free, promised) == 3
    promise(ONE_CORE, 2, free, promised)
    assert count(ONE_CORE, free, promised) == 1
    promise(ONE_CORE, 9, free, promised)
    assert count(ONE_CORE, free, promised) == 0


def test_who_finds_no_place_takes_none_from_others() -> None:
    free, promised = room(ONE_CORE, [node(cpu=3000)], {}), dict[str, Amount]()
    large = Needs(Amount(4000, GIB), cores=4)

    promise(large, 5, room(large, [node(cpu=3000)], {}), promised)

    assert count(ONE_CORE, free, promised) == 3


def test_what_makes_no_sense_is_left_to_the_api_server() -> None:
    greedy = {"name": "c", "resources": {"requests": {"cpu": "lots"}}}
    assert parse_needs({"containers": [greedy]}, cores=1) is None
    assert parse_needs({"affinity": {"nodeAffinity": []}, "tolerations": [7]}, cores=1) is None


def test_an_exclusive_pool_needs_what_its_deployment_asks_for() -> None:
    template = {"spec": {"nodeSelector": {"disk": "ssd"}}}
    pool = parse(stored({"spec.cpu.cores": 2, "spec.template": template}))
    manifest = deployment(pool, image="i", pull_policy="Never")

    needs = parse_needs(manifest["spec"]["template"]["spec"], 2)

    assert needs == Needs(
        Amount(2000, GIB // 2), cores=2, wishes=Wishes(selector=(("disk", "ssd"),))
    )


# --- the step


def decided(jobs: int, replicas: int, places: Places | None) -> tuple[int, Reason, str]:
    policy = Policy(max_replicas=100, backlog_per_replica=1, stabilization=timedelta())
    observation = Observation(NOW, replicas, Backlog(jobs), places=places)
    decision = decide(observation, policy)
    return decision.desired, decision.reason, decision.shortage


def test_unknown_room_limits_nobody() -> None:
    assert decided(50, 0, None) == (50, Reason.BACKLOG, "")


@pytest.mark.parametrize(
    ("jobs", "replicas", "total", "desired", "missing"),
    [
        (2, 0, 2, 2, ""),
        (3, 0, 2, 3, "1 core missing"),  # one waits, for an autoscaler to see
        (50, 0, 2, 3, "48 cores missing"),
        (50, 3, 2, 3, "48 cores missing"),
        (50, 3, 9, 10, "41 cores missing"),  # nodes came
        (50, 7, 2, 7, "48 cores missing"),  # nodes went: who waits is left waiting
        (5, 7, 2, 5, "3 cores missing"),
        (1, 0, 0, 1, "1 core missing"),
        (0, 3, 0, 0, ""),
    ],
)
def test_no_more_is_asked_for_than_there_is_but_for_one(
    jobs: int, replicas: int, total: int, desired: int, missing: str
) -> None:
    count, reason, shortage = decided(jobs, replicas, Places(total, cores=1))

    assert count == desired
    assert shortage.partition(":")[0] == missing
    assert (reason is Reason.INSUFFICIENT_CORES) is bool(missing)


def test_cores_are_counted_and_not_pods() -> None:
    _, _, shortage = decided(4, 0, Places(1, cores=4))

    assert shortage.startswith(
        "12 cores missing: 4 replicas wanted, and the nodes have room for 1"
    )


def test_while_a_rejection_is_fresh_those_with_a_place_stay_and_nobody_else_is_made() -> None:
    count, reason, shortage = decided(5, 5, Places(2, cores=1, refusal="n1 has no core"))

    assert (count, reason) == (2, Reason.PODS_REJECTED)
    assert shortage == "3 of 5 replicas have no place: n1 has no core."


@pytest.mark.parametrize(
    ("jobs", "desired", "told"),
    [(1, 1, ""), (2, 2, ""), (3, 3, "1 of 3 replicas has no place"), (9, 4, "7 of 9 replicas")],
)
def test_after_a_rejection_some_are_tried_and_it_is_told_until_they_are_taken_in(
    jobs: int, desired: int, told: str
) -> None:
    places = Places(4, cores=1, refusal="n1 has no core", tried=2)

    count, reason, shortage = decided(jobs, 2, places)

    assert count == desired
    assert shortage.startswith(told)
    assert bool(shortage) is bool(told)
    assert (reason is Reason.PODS_REJECTED) is bool(told)
