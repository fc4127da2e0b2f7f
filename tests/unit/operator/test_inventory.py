"""Who has the cores: nodes and pods come and go, and pools ask for what is left."""

from dataclasses import replace

import pytest

from support.stock import NOW, ONE_CORE, POOL, node, pod, rejected
from workerpool_operator.amounts import Amount
from workerpool_operator.inventory import NODES, PODS, Inventory
from workerpool_operator.resource import Key
from workerpool_operator.stock import Pod
from workerpool_operator.suitability import Taint, Wishes

OTHER = Key("shop", "other")


@pytest.fixture
def inventory() -> Inventory:
    """Return one that knows two nodes with one core each, and no pods."""
    inventory = Inventory()
    for name in ("n1", "n2"):
        inventory.put_node(node(name, 1000))
    inventory.listed(NODES, {"n1", "n2"})
    inventory.listed(PODS, set())
    return inventory


def total(inventory: Inventory, pool: Key = POOL) -> int | None:
    found = inventory.places(pool, ONE_CORE, NOW)
    return None if found is None else found.total


def test_nothing_is_known_until_both_were_listed_and_while_either_is_not_watched(
    inventory: Inventory,
) -> None:
    assert total(inventory) == 2
    inventory.lost(PODS)
    assert total(inventory) is None
    inventory.listed(PODS, set())
    assert total(inventory) == 2
    inventory.lost(NODES)
    assert total(inventory) is None
    assert total(Inventory()) is None


def test_binding_a_pod_changes_nothing_of_what_its_pool_can_have(inventory: Inventory) -> None:
    inventory.put_pod(pod("a", node=""))
    assert total(inventory) == 2
    inventory.put_pod(pod("a"))
    assert total(inventory) == 2
    assert total(inventory, OTHER) == 1


def test_whoever_leaves_keeps_his_core_until_he_is_gone(inventory: Inventory) -> None:
    inventory.put_pod(pod("a", leaving=True))
    assert total(inventory) == 1, "not a replica any more, and its core not free yet"
    inventory.drop_pod(Key("shop", "a"))
    assert total(inventory) == 2


def test_the_pods_of_everybody_take_room(inventory: Inventory) -> None:
    inventory.put_pod(pod("theirs", pool=None, amount=Amount(1, 0)))
    assert total(inventory) == 1
    inventory.put_pod(pod("theirs", pool=None, over=True))
    assert total(inventory) == 2


def test_a_node_that_is_cordoned_keeps_the_pods_it_has(inventory: Inventory) -> None:
    inventory.put_pod(pod("a"))
    cordon = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    inventory.put_node(node("n1", 1000, taints=(cordon,)))
    assert total(inventory) == 2
    inventory.drop_pod(Key("shop", "a"))
    assert total(inventory) == 1


def test_what_a_list_does_not_name_is_gone(inventory: Inventory) -> None:
    inventory.put_pod(pod("a"))
    inventory.put_pod(pod("b", node="n2"))
    inventory.listed(PODS, {Key("shop", "b")})
    assert total(inventory, OTHER) == 1
    inventory.listed(NODES, {"n2"})
    assert total(inventory, OTHER) == 0


# --- several pools


def theirs(name: str, node: str = "n1") -> Pod:
    """Return a worker of the other pool."""
    return pod(name, node, pool=OTHER)


def test_what_another_pool_has_asked_for_is_not_free(inventory: Inventory) -> None:
    inventory.claim(OTHER, ONE_CORE, 1)
    assert total(inventory) == 1
    inventory.claim(OTHER, ONE_CORE, 5)
    assert total(inventory) == 0
    inventory.claim(OTHER, ONE_CORE, 0)
    assert total(inventory) == 2


def test_what_is_bound_is_not_counted_twice(inventory: Inventory) -> None:
    inventory.claim(OTHER, ONE_CORE, 1)
    inventory.put_pod(theirs("a", node=""))
    assert total(inventory) == 1, "it waits for the scheduler"
    inventory.put_pod(theirs("a"))
    assert total(inventory) == 1, "it has its core"
    inventory.drop_pod(Key("shop", "a"))
    assert total(inventory) == 1, "it is about to be made again"
    inventory.waive(OTHER)
    assert total(inventory) == 2


def test_who_asked_first_is_first(inventory: Inventory) -> None:
    inventory.claim(POOL, ONE_CORE, 2)
    inventory.claim(OTHER, ONE_CORE, 2)
    assert (total(inventory), total(inventory, OTHER)) == (2, 0)
    inventory.claim(POOL, ONE_CORE, 1)
    assert (total(inventory), total(inventory, OTHER)) == (2, 1), "the second of his is no claim"
    inventory.claim(POOL, ONE_CORE, 0)
    inventory.claim(POOL, ONE_CORE, 2)
    assert (total(inventory), total(inventory, OTHER)) == (0, 2), "who let go starts anew"


def test_a_node_that_comes_is_handed_out_once(inventory: Inventory) -> None:
    """Pools that lack cores are asked one after the other; together they get what there is."""
    inventory.put_pod(pod("a"))
    inventory.put_pod(theirs("b", "n2"))
    for pool in (POOL, OTHER):
        inventory.claim(pool, ONE_CORE, 2)  # one of each waits
    inventory.put_node(node("n3", 5000))

    found = []
    for pool in (POOL, OTHER):
        found.append(total(inventory, pool) or 0)
        inventory.claim(pool, ONE_CORE, min(4, found[-1]))

    assert found == [6, 3], "three more for the first, who wants four, and two for the second"


def test_a_claim_on_other_nodes_takes_nothing(inventory: Inventory) -> None:
    inventory.put_node(node("n3", 1000, labels={"disk": "ssd"}))
    fast = replace(ONE_CORE, wishes=Wishes(selector=(("disk", "ssd"),)))

    inventory.claim(OTHER, fast, 7)

    assert total(inventory) == 2


# --- word of rejections


def test_a_pod_that_is_turned_away_is_told_at_once_and_only_once() -> None:
    told: list[Key] = []
    inventory = Inventory(told.append)
    inventory.put_pod(rejected("old", 60))
    inventory.put_pod(pod("a", admitted=False))
    assert told == [], "what was found turned away is no news"
    inventory.put_pod(rejected("a", 0))
    inventory.put_pod(rejected("a", 0))
    assert told == [POOL]


def test_what_admission_adds_to_a_pod_is_counted_from_the_first_one_on() -> None:
    """A RuntimeClass's overhead is in no template."""
    inventory = Inventory()
    inventory.put_node(node("n1", 2500))
    inventory.listed(NODES, {"n1"})
    inventory.listed(PODS, set())
    assert total(inventory) == 2
    with_overhead = ONE_CORE.amount.plus(Amount(350, 0, 0))
    inventory.put_pod(pod("a", amount=with_overhead))
    assert total(inventory) == 1, "2500 - 1350 is less than 1350"

    inventory.claim(POOL, ONE_CORE, 2)
    inventory.put_node(node("n1", 3500))
    assert total(inventory, OTHER) == 0, "3500 - 2 x 1350 is less than 1000"


def test_pods_of_another_size_say_nothing_of_those_to_come() -> None:
    inventory = Inventory()
    inventory.put_node(node("n1", 4000))
    inventory.listed(NODES, {"n1"})
    inventory.listed(PODS, set())
    inventory.put_pod(pod("a", amount=ONE_CORE.amount.times(2)._replace(pods=1), worker_cpu=2000))
    assert total(inventory) == 3, "it has two cores, and each of those to come one"
