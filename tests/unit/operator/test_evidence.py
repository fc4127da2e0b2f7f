"""From what workers write of their cores to what is known of them."""

from dataclasses import replace

import pytest

from support.reports import UNDISTURBED
from workerpool_operator import evidence
from workerpool_operator.evidence import LISTS, WORDS, Report, Trouble, parse
from workerpool_operator.resource import Key

GOOD = replace(UNDISTURBED, siblings=frozenset({2, 6}), granted=frozenset({2, 6}))
OTHER = replace(GOOD, worker="w1", pod="images-worker-b", node="node-2")
FIGURES = 6


def test_a_record_is_read() -> None:
    values: list[bytes | None] = [
        *(b"shop", b"images", b"images-worker-a", b"node-1", b"kvm", None),
        *(b"2", b"2,6", b"2,6", b"0-7"),
        *(b"0.01", b"0.02", b"0", b"3", b"0", b"1764000000000"),
    ]
    assert parse("w0", values) == replace(GOOD, started=1764000000000.0)


def test_whom_a_restart_replaced_is_left_out() -> None:
    """A container that was killed comes back on its core long before its old lease ends."""
    old, new = replace(GOOD, started=1.0), replace(GOOD, worker="w9", started=2.0)
    twin = replace(new, worker="w10", cpus=frozenset({3}))
    stranger = replace(GOOD, pod="", worker="w11")
    assert evidence.current([old, new, twin, OTHER, stranger]) == (new, twin, OTHER, stranger)


@pytest.mark.parametrize(
    ("affinity", "cpus"),
    [
        (b"0-3,8", {0, 1, 2, 3, 8}),
        (b"", set()),
        (None, set()),
        (b"all", set()),
        (b"1-", set()),
        (b"-1", set()),
        (b"0-99999999999999", set(range(evidence.CPUS_MOST + 1))),
    ],
)
def test_an_affinity_is_read_whoever_wrote_it(affinity: bytes | None, cpus: set[int]) -> None:
    values = [b"shop", b"images", b"p", b"n", None, None, *[affinity] * LISTS, *[None] * FIGURES]
    report = parse("w", values)
    assert report.cpus == report.siblings == report.granted == cpus


def test_a_list_that_is_too_long_is_none() -> None:
    """A part of it would be another list."""
    longest = ",".join(map(str, range(0, 2 * evidence.LIST_LONGEST, 2))).encode()
    values = [*[None] * WORDS, *[longest] * LISTS, *[None] * FIGURES]
    assert parse("w", values) == Report("w", Key("", ""))


def test_whoever_was_given_every_cpu_of_the_node_is_known() -> None:
    def told(granted: bytes | None, online: bytes | None) -> bool:
        values = [*[None] * WORDS, None, None, granted, online, *[None] * FIGURES]
        return parse("w", values).everything

    assert told(b"0-1", b"0-1")
    assert not told(b"0-1", b"0-2")
    assert not told(b"0-1", None), "an older worker"
    assert not told(None, None)


def test_a_core_is_the_same_for_both_of_its_threads() -> None:
    other = replace(GOOD, cpus=frozenset({6}))
    assert GOOD.core == other.core == ("node-1", 2)
    assert replace(GOOD, siblings=frozenset()).core == ("node-1", 2), "it does not tell of threads"
    assert replace(GOOD, cpus=frozenset({2, 6})).core is None, "it has none to itself"


def test_threads_of_a_core_that_a_pod_was_not_given_are_known() -> None:
    assert GOOD.strange == frozenset()
    assert replace(GOOD, granted=frozenset({2, 3})).strange == {6}
    assert replace(GOOD, granted=frozenset()).strange == frozenset(), "an older worker"


@pytest.mark.parametrize("value", [b"nan", b"inf", b"-1", b"1e999", b"words", b"\xff", b""])
def test_a_figure_that_is_none_is_unknown(value: bytes) -> None:
    report = parse("w", [*[b"\n\xff"] * (WORDS + LISTS), *[value] * FIGURES])
    assert report == Report("w", Key("", ""))


def test_only_too_much_is_trouble() -> None:
    assert GOOD.trouble is None
    assert replace(GOOD, stolen=0.06, waited=0.5).trouble == (0.5, Trouble.CROWDED)
