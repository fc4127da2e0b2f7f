"""From what workers tell of their cores to what is said of the pool."""

from dataclasses import replace

import pytest

from support.reports import UNDISTURBED, survey
from support.workerpools import stored
from workerpool_operator import isolation
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.resource import Key, Pool
from workerpool_operator.resource import parse as parse_pool

POOL = parse_pool(stored())
SHARED = parse_pool(stored({"spec.cpu": {"policy": "Shared", "request": "250m"}}))
GOOD = UNDISTURBED
KEY = GOOD.pool
OTHER = replace(GOOD, worker="w1", pod="images-worker-b", node="node-2", stolen=0.0)
WHOLE = parse_pool(stored({"spec.cpu": {"policy": "Exclusive", "cores": 2, "threadsPerCore": 2}}))
CORE = frozenset({2, 6})
"""A core with two hardware threads."""
THREADED = replace(GOOD, siblings=CORE, granted=CORE)
SIBLING = replace(THREADED, worker="w1", pod="images-worker-b", cpus=frozenset({6}))
REMEDY = (
    "Have the kubelet give out whole cores (full-pcpus-only: docs/placement.md) and set "
    "spec.cpu.threadsPerCore: 2, with spec.cpu.cores 2 or a multiple."
)


def verdicts(found: Survey | Unreadable | None, pool: Pool = POOL) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in isolation.conditions(pool, found)}


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
        pytest.param([THREADED], "Pinned", "Undisturbed", id="a whole core"),
        pytest.param([THREADED, SIBLING], "Pinned", "CoreShared", id="one core, two threads"),
        pytest.param(
            [THREADED, replace(SIBLING, node="node-2")], "Pinned", "Undisturbed", id="two cores"
        ),
        pytest.param(
            [THREADED, replace(SIBLING, pool=Key("", ""), pod="", granted=frozenset({6}))],
            "Pinned",
            "CoreShared",
            id="the other thread has somebody outside the cluster",
        ),
        pytest.param(
            [replace(THREADED, granted=frozenset({2}))], "Pinned", "PartialCores", id="half a core"
        ),
        pytest.param(
            [replace(THREADED, granted=frozenset())], "Pinned", "Undisturbed", id="an older worker"
        ),
        pytest.param(
            [replace(GOOD, everything=True)], "NotExclusive", "NotExclusive", id="all of the node"
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
    worse = replace(OTHER, worker="w2", pod="images-worker-c", node="node-3", waited=0.4)
    _, isolated = isolation.conditions(POOL, survey(GOOD, bad, worse))
    assert isolated.message == (
        "2 of 3 workers that tell of their cores are disturbed; worst is images-worker-c on "
        "node-3: 40% of its time it waited, because something else ran on its core."
    )
    pinned, _ = isolation.conditions(POOL, survey(replace(GOOD, cpus=frozenset(range(64)))))
    assert "images-worker-a on node-1 may run on 64 CPUs" in pinned.message
    contested, _ = isolation.conditions(POOL, survey(GOOD, replace(OTHER, node="node-1")))
    assert "CPU 2 of node-1 has 2 (images-worker-a, images-worker-b)" in contested.message


def test_small_movements_do_not_change_a_word() -> None:
    """Each other word would be a write to the API server every ten seconds."""
    calm = isolation.conditions(POOL, survey(GOOD))
    assert calm == isolation.conditions(POOL, survey(replace(GOOD, stolen=0.013, waited=0.04)))


def test_metrics_tell_the_worst_of_the_pools_own_workers() -> None:
    stranger = replace(GOOD, pool=Key("", ""), pod="", stolen=0.9, node="laptop")
    crowd = replace(OTHER, worker="w3", stolen=0.2, waited=None, migrations_per_second=None)
    assert isolation.gauges(KEY, survey(GOOD, OTHER, crowd, stranger)) == {
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


def test_threads_of_one_core_are_told_with_node_pods_and_remedy() -> None:
    _, isolated = isolation.conditions(POOL, survey(THREADED, SIBLING))
    assert isolated.message == (
        "1 core(s) have more than one worker: the CPUs 2, 6 of node-1 are hardware threads of one "
        f"core and have 2 (images-worker-a, images-worker-b). {REMEDY}"
    )
    assert isolation.gauges(KEY, survey(THREADED, SIBLING))["shared_cores"] == 1


def test_a_pod_that_was_given_half_cores_says_whose_the_others_may_be() -> None:
    """Two CPUs that are no siblings: two processes where the pool counts on one."""
    grant = frozenset({2, 3})
    halves = [
        replace(THREADED, granted=grant),
        replace(
            THREADED,
            worker="w1",
            cpus=frozenset({3}),
            siblings=frozenset({3, 7}),
            granted=grant,
        ),
    ]
    _, isolated = isolation.conditions(WHOLE, survey(*halves))
    assert (isolated.status, isolated.reason) == ("False", "PartialCores")
    assert isolated.message == (
        "2 of 2 workers that tell of their cores are on a part of a core: CPU 6 is a hardware "
        "thread of the core of images-worker-a on node-1, and may be anybody's. " + REMEDY
    )


def test_a_machine_that_shows_no_threads_where_the_pool_counts_on_them_says_so() -> None:
    _, isolated = isolation.conditions(WHOLE, survey(GOOD))
    assert (isolated.status, isolated.reason) == ("Unknown", "ThreadsNotShown")
    assert "threadsPerCore: 2 (images-worker-a on node-1 shows 1)" in isolated.message
    assert verdicts(survey(GOOD))["Isolated"] == ("True", "Undisturbed")


def test_all_cpus_of_a_node_are_no_exclusive_core() -> None:
    """Without a static CPU manager a pod as large as its node looks as if they were its own."""
    pinned, _ = isolation.conditions(POOL, survey(replace(GOOD, everything=True)))
    assert "given every CPU of a node, as images-worker-a on node-1" in pinned.message
    assert "cpuManagerPolicy to static" in pinned.message


def test_a_neighbour_of_another_namespace_is_named_with_it() -> None:
    other = replace(OTHER, node="node-1", pool=Key("films", "frames"))
    pinned, isolated = isolation.conditions(POOL, replace(survey(GOOD), beside=(other,)))
    assert (pinned.reason, isolated.reason) == ("CoreShared", "CoreShared")
    assert "CPU 2 of node-1 has 2 (films/images-worker-b, images-worker-a)" in pinned.message
