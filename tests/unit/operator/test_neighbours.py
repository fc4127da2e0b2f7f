"""Workers of different queues on one core."""

from dataclasses import replace

from support.reports import survey
from workerpool_operator.evidence import Report
from workerpool_operator.neighbours import Neighbours
from workerpool_operator.resource import Key

IMAGES = Report("w0", Key("shop", "images"), pod="images-a", node="n1", cpus=frozenset({2}))
FILMS = replace(IMAGES, worker="w1", pool=Key("shop", "films"), pod="films-a")


def test_a_worker_of_another_queue_on_the_same_core_is_told() -> None:
    neighbours = Neighbours()
    assert neighbours.take("images", survey(IMAGES)).beside == ()
    assert neighbours.take("films", survey(FILMS)).beside == (), "it may have left by now"
    assert neighbours.take("images", survey(IMAGES)).beside == (FILMS,)
    assert neighbours.take("films", survey(FILMS)).beside == (IMAGES,)


def test_the_other_thread_of_a_core_is_the_same_core() -> None:
    core = frozenset({2, 6})
    images = replace(IMAGES, siblings=core)
    films = replace(FILMS, siblings=core, cpus=frozenset({6}))
    assert beside(images, films) == (films,)


def test_another_core_and_a_worker_without_one_are_nobodys_neighbours() -> None:
    assert beside(IMAGES, replace(FILMS, cpus=frozenset({3}))) == ()
    assert beside(IMAGES, replace(FILMS, node="n2")) == ()
    assert beside(IMAGES, replace(FILMS, cpus=frozenset({2, 3}))) == ()
    assert beside(IMAGES, replace(FILMS, node="")) == ()


def test_a_core_that_one_pool_left_and_another_got_is_not_shared() -> None:
    neighbours = Neighbours()
    neighbours.take("images", survey(IMAGES))
    neighbours.take("films", survey())
    assert neighbours.take("films", survey(FILMS)).beside == ()
    neighbours.take("images", survey())
    assert neighbours.take("films", survey(FILMS)).beside == ()


def test_a_worker_of_several_queues_is_not_its_own_neighbour() -> None:
    assert beside(IMAGES, IMAGES) == ()


def test_a_queue_that_nobody_follows_any_more_is_forgotten() -> None:
    neighbours = Neighbours()
    for _ in range(2):
        neighbours.take("images", survey(IMAGES))
        neighbours.take("films", survey(FILMS))
    neighbours.drop("images")
    assert neighbours.take("films", survey(FILMS)).beside == ()


def beside(one: Report, other: Report) -> tuple[Report, ...]:
    """Return who is beside the first once both queues have been surveyed again."""
    neighbours = Neighbours()
    neighbours.take("one", survey(one))
    neighbours.take("other", survey(other))
    return neighbours.take("one", survey(one)).beside
