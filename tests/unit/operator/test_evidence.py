"""From what workers tell of their cores to what is said of the pool."""

from dataclasses import replace

import pytest

from support.workerpools import stored
from workerpool_operator import evidence
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Report, Survey, Trouble, parse
from workerpool_operator.resource import Key, Pool
from workerpool_operator.resource import parse as parse_pool

KEY = Key("shop", "images")
POOL = parse_pool(stored())
SHARED = parse_pool(stored({"spec.cpu": {"policy": "Shared", "request": "250m"}}))
GOOD = Report(
    "w0",
    KEY,
    pod="images-worker-a",
    node="node-1",
    cpus=frozenset({2}),
    virtualisation="kvm",
    stolen=0.01,
    waited=0.02,
    throttled=0.0,
    switches_per_second=3.0,
    migrations_per_second=0.0,
)
OTHER = replace(GOOD, worker="w1", pod="images-worker-b", node="node-2", stolen=0.0)


def survey(*reports: Report) -> Survey:
    return Survey(len(reports), reports)


def verdicts(found: Survey | Unreadable | None, pool: Pool = POOL) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in evidence.conditions(pool, found)}


@pytest.mark.parametrize(
    ("reports", "pinned", "isolated"),
    [
        pytest.param([GOOD, OTHER], "Pinned", "Undisturbed", id="all is well"),
        pytest.param([], "NoEvidence", "NoEvidence", id="nobody there"),
        pytest.param(
            [replace(GOOD, cpus=frozenset())], "NoEvidence", "NoEvidence", id="who tells nothing"
        ),
        pytest.param(
            [GOOD, replace(OTHER, cpus=frozenset(range(4)))], "NotPinned", "NotPinned", id="loose"
        ),
        pytest.param([GOOD, replace(OTHER, stolen=0.12)], "Pinned", "Stolen", id="steal"),
        pytest.param([GOOD, replace(OTHER, stolen=0.05)], "Pinned", "Undisturbed", id="at most"),
        pytest.param([GOOD, replace(OTHER, waited=0.3)], "Pinned", "Crowded", id="a neighbour"),
        pytest.param([GOOD, replace(OTHER, throttled=0.3)], "Pinned", "Throttled", id="a quota"),
        pytest.param(
            [GOOD, replace(OTHER, node="node-1")], "CoreShared", "CoreShared", id="one core, two"
        ),
        pytest.param(
            [GOOD, replace(OTHER, node="node-1", pool=Key("shop", "films"))],
            "CoreShared",
            "CoreShared",
            id="one of them another's",
        ),
        pytest.param(
            [GOOD, replace(OTHER, virtualisation="container:openvz")],
            "Pinned",
            "SharedKernel",
            id="steal cannot be seen",
        ),
        pytest.param(
            [replace(GOOD, stolen=None, waited=None, throttled=None)],
            "Pinned",
            "NoEvidence",
            id="a kernel that counts nothing",
        ),
        pytest.param(
            [GOOD, replace(OTHER, pool=Key("", ""), pod="", cpus=frozenset({1, 2}))],
            "Pinned",
            "Undisturbed",
            id="a stranger's place is his own affair",
        ),
    ],
)
def test_conditions_follow_from_the_reports(
    reports: list[Report], pinned: str, isolated: str
) -> None:
    status = {"Pinned": "True", "Undisturbed": "True", "NoEvidence": "Unknown"}
    status["SharedKernel"] = "Unknown"
    assert verdicts(survey(*reports)) == {
        "CPUPinned": (status.get(pinned, "False"), pinned),
        "Isolated": (status.get(isolated, "False"), isolated),
    }


def test_shared_claims_nothing() -> None:
    assert set(verdicts(survey(GOOD), SHARED).values()) == {("False", "SharedPolicy")}


def test_what_cannot_be_read_is_unknown() -> None:
    refused = Unreadable("grant +hmget", reason="PermissionDenied")
    assert set(verdicts(refused).values()) == {("Unknown", "PermissionDenied")}
    assert set(verdicts(None).values()) == {("Unknown", "NoEvidence")}


def test_the_worst_offender_is_named_with_its_pod_and_node() -> None:
    bad = replace(OTHER, stolen=0.12)
    worse = replace(OTHER, worker="w2", pod="images-worker-c", cpus=frozenset({3}), waited=0.4)
    _, isolated = evidence.conditions(POOL, survey(GOOD, bad, worse))
    assert isolated.message == (
        "2 of 3 workers that tell of their cores are disturbed; worst is images-worker-c on "
        "node-2: 40% of its time it waited, because something else ran on its core."
    )
    pinned, _ = evidence.conditions(POOL, survey(replace(GOOD, cpus=frozenset(range(64)))))
    assert "images-worker-a on node-1 may run on 64 CPUs" in pinned.message
    contested, _ = evidence.conditions(POOL, survey(GOOD, replace(OTHER, node="node-1")))
    assert "CPU 2 of node-1 has 2 (images-worker-a, images-worker-b)" in contested.message


def test_small_movements_do_not_change_a_word() -> None:
    """Each other word would be a write to the API server every ten seconds."""
    calm = evidence.conditions(POOL, survey(GOOD))
    assert calm == evidence.conditions(POOL, survey(replace(GOOD, stolen=0.013, waited=0.04)))


def test_metrics_tell_the_worst_of_the_pools_own_workers() -> None:
    stranger = replace(GOOD, pool=Key("", ""), pod="", stolen=0.9, node="laptop")
    crowd = replace(OTHER, worker="w3", stolen=0.2, waited=None, migrations_per_second=None)
    assert evidence.gauges(KEY, survey(GOOD, OTHER, crowd, stranger)) == {
        "surveyed_workers": 3,
        "pinned_workers": 3,
        "shared_cores": 1,
        "external_workers": 1,
        "cpu_steal_ratio": 0.2,
        "cpu_wait_ratio": 0.02,
        "cpu_throttled_ratio": 0.0,
        "involuntary_switches_per_second": 3.0,
        "core_migrations_per_second": 0.0,
    }


def test_workers_outside_the_pods_are_counted_or_estimated() -> None:
    stranger = replace(GOOD, pod="")
    assert survey(GOOD, stranger, OTHER).external(KEY) == 1
    assert Survey(600, (GOOD, stranger, OTHER)).external(KEY) == 200
    assert Survey(5).external(KEY) == 0


def test_a_record_is_read() -> None:
    values: list[bytes | None] = [
        *(b"shop", b"images", b"images-worker-a", b"node-1", b"2", b"kvm", None),
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
    values = [b"shop", b"images", b"p", b"n", affinity, *[None] * 8]
    assert parse("w", values).cpus == cpus


@pytest.mark.parametrize("value", [b"nan", b"inf", b"-1", b"1e999", b"words", b"\xff", b""])
def test_a_figure_that_is_none_is_unknown(value: bytes) -> None:
    report = parse("w", [*[b"\n\xff"] * 7, *[value] * 6])
    assert report == Report("w", Key("", ""))


def test_only_too_much_is_trouble() -> None:
    assert GOOD.trouble is None
    assert replace(GOOD, stolen=0.06, waited=0.5).trouble == (0.5, Trouble.CROWDED)
