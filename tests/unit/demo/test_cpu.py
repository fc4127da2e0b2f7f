import pytest

from demo.cpu import Node, choose, milli


def node(allocatable: int, requested: int = 0, *, pins: bool | None = True) -> Node:
    return Node("a", allocatable, requested, pins)


def test_four_free_whole_cores_are_given_out_whole() -> None:
    assert choose((node(2000), node(2900))).cpu == {"policy": "Exclusive", "cores": 1}


def test_few_cores_are_shared_and_the_person_is_told_why() -> None:
    choice = choose((node(1000, 100), node(1000)))
    assert choice.cpu == {"policy": "Shared", "request": "250m"}
    assert choice.because.startswith("1 whole core is free, too few to show a scale-out")


def test_the_room_is_counted_node_by_node() -> None:
    assert choose((node(1000, 300), node(1000, 100), node(100, 200))).room == 2 + 3
    assert choose((node(2500), node(2900))).room == 4


def test_halves_on_two_nodes_make_no_whole_core() -> None:
    choice = choose(tuple(node(1500, 1000) for _ in range(8)))
    assert choice.because.startswith("no whole cores are free")


def test_a_node_that_does_not_pin_offers_no_whole_core() -> None:
    assert choose((node(16000, pins=False),)).cpu["policy"] == "Shared"


def test_a_node_that_does_not_tell_gets_the_benefit_of_the_doubt() -> None:
    assert choose((node(16000, pins=None),)).cpu["policy"] == "Exclusive"


def test_an_overcommitted_node_does_not_take_from_the_others() -> None:
    assert choose((node(1000, 9000), node(4000))).cpu["policy"] == "Exclusive"


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("2", 2000), ("0", 0), ("250m", 250), ("1.5", 1500), ("0.1", 100), ("999999u", 999)],
)
def test_quantities_are_read_as_kubernetes_writes_them(quantity: str, expected: int) -> None:
    assert milli(quantity) == expected
