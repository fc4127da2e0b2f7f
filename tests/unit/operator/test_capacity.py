"""How many more pods the nodes have room for, and what a node that turns pods away means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.workerpools import stored
from workerpool_operator.capacity import (
    Amount,
    Needs,
    Node,
    Pod,
    Taint,
    parse_needs,
    parse_node,
    parse_pod,
    places,
    quantity,
    requests,
    room,
)
from workerpool_operator.decide import decide
from workerpool_operator.inventory import NODES, PODS, Inventory
from workerpool_operator.model import Backlog, Observation, Places, Policy, Reason
from workerpool_operator.resource import Key, parse
from workerpool_operator.workload import deployment

GIB = 2**30
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POOL = Key("shop", "images")
ONE_CORE = Needs(Amount(1000, GIB // 2), cores=1)


def node(name: str = "n1", cpu: int = 4000, **changes: Any) -> Node:  # noqa: ANN401  any field
    return replace(Node(name, {}, (), Amount(cpu, 16 * GIB, 110)), **changes)


def pod(name: str, node: str = "n1", **changes: Any) -> Pod:  # noqa: ANN401  any field
    plain = Pod(
        key=Key("shop", name),
        node=node,
        amount=Amount(1000, GIB // 2),
        pool=POOL,
        leaving=False,
        over=False,
        rejection="",
        message="",
        created=NOW,
    )
    return replace(plain, **changes)


# --- room


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
    assert room(ONE_CORE, [node(allocatable=allocatable)], {"n1": taken}) == free


def test_room_is_counted_node_by_node() -> None:
    """Half a core here and half a core there are no core."""
    nodes = [node("a", 1500), node("b", 1500), node("c", 500)]

    assert room(ONE_CORE, nodes, {}) == 2


@pytest.mark.parametrize(
    ("labels", "spec", "admitted"),
    [
        ({}, {}, True),
        ({"disk": "ssd"}, {"nodeSelector": {"disk": "ssd"}}, True),
        ({"disk": "hdd"}, {"nodeSelector": {"disk": "ssd"}}, False),
        ({}, {"nodeSelector": {"disk": "ssd"}}, False),
        ({"z": "a"}, ("z", "In", ["a", "b"]), True),
        ({"z": "c"}, ("z", "In", ["a", "b"]), False),
        ({}, ("z", "In", ["a"]), False),
        ({"z": "c"}, ("z", "NotIn", ["a"]), True),
        ({}, ("z", "NotIn", ["a"]), True),
        ({"z": "a"}, ("z", "NotIn", ["a"]), False),
        ({"z": ""}, ("z", "Exists", []), True),
        ({}, ("z", "Exists", []), False),
        ({}, ("z", "DoesNotExist", []), True),
        ({"z": "8"}, ("z", "Gt", ["7"]), True),
        ({"z": "7"}, ("z", "Gt", ["7"]), False),
        ({"z": "6"}, ("z", "Lt", ["7"]), True),
        ({"z": "many"}, ("z", "Lt", ["7"]), False),
        ({"z": "a"}, ("z", "Near", ["a"]), False),
    ],
)
def test_a_node_must_have_the_labels_that_are_asked_for(
    labels: dict[str, str],
    spec: dict[str, Any] | tuple[str, str, list[str]],
    admitted: bool,  # noqa: FBT001  a column of the table
) -> None:
    if isinstance(spec, tuple):
        key, operator, values = spec
        spec = _required([{"key": key, "operator": operator, "values": values}])
    needs = parse_needs(spec | {"containers": [_container(cpu="1")]}, cores=1)
    assert needs is not None

    assert (room(needs, [node(labels=labels)], {}) > 0) is admitted


def _required(*terms: list[dict[str, Any]], match: str = "matchExpressions") -> dict[str, Any]:
    selector = {"nodeSelectorTerms": [{match: term} for term in terms]}
    wish = {"requiredDuringSchedulingIgnoredDuringExecution": selector}
    return {"affinity": {"nodeAffinity": wish}}


def _container(**requested: str) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requested}}


def test_of_several_terms_one_must_hold_and_an_empty_one_never_does() -> None:
    a = [{"key": "z", "operator": "In", "values": ["a"]}]
    b = [{"key": "z", "operator": "In", "values": ["b"]}]
    nodes = [node("a", labels={"z": "a"}), node("b", labels={"z": "b"}), node("c")]

    def admitted(*terms: list[dict[str, Any]]) -> int:
        needs = parse_needs(_required(*terms) | {"containers": [_container(cpu="1")]}, cores=1)
        assert needs is not None
        return room(needs, nodes, {}) // 4

    assert admitted(a) == 1
    assert admitted(a, b) == 2
    assert admitted(a + b) == 0
    assert admitted([]) == 0


def test_a_node_can_be_asked_for_by_name() -> None:
    spec = _required(
        [{"key": "metadata.name", "operator": "In", "values": ["b"]}], match="matchFields"
    )
    needs = parse_needs(spec | {"containers": [_container(cpu="1")]}, cores=1)
    assert needs is not None

    assert room(needs, [node("a"), node("b"), node("c")], {}) == 4


BATCH = Taint("only", "batch", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "admitted"),
    [
        (None, False),
        ({"operator": "Exists"}, True),
        ({"key": "only", "operator": "Exists"}, True),
        ({"key": "only", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "only", "value": "batch", "effect": "NoSchedule"}, True),
        ({"key": "only", "operator": "Equal", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_keeps_off_who_does_not_tolerate_it(
    toleration: dict[str, str] | None,
    admitted: bool,  # noqa: FBT001  a column of the table
) -> None:
    spec = {"containers": [_container(cpu="1")], "tolerations": [toleration] if toleration else []}
    needs = parse_needs(spec, cores=1)
    assert needs is not None

    assert (room(needs, [node(taints=(BATCH,))], {}) > 0) is admitted


def test_a_node_as_the_api_has_it() -> None:
    taint = {"key": "only", "value": "batch", "effect": "NoSchedule"}
    mild = {"key": "slow", "effect": "PreferNoSchedule"}
    body = {
        "metadata": {"name": "n1", "labels": {"disk": "ssd"}},
        "spec": {"unschedulable": True, "taints": [taint, mild]},
        "status": {"allocatable": {"cpu": "3920m", "memory": "16Gi", "pods": "110"}},
    }

    parsed = parse_node(body)

    assert parsed.allocatable == Amount(3920, 16 * GIB, 110)
    cordon = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    assert parsed.taints == (cordon, BATCH)
    bare = {"metadata": {"name": "n2"}}
    assert parse_node(bare).allocatable == Amount(0, 0, 0), "before its kubelet has reported"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", 1), ("250m", 0.25), ("1.5", 1.5), ("2Gi", 2 * GIB), ("128974848", 128974848)),
        *(("1k", 1000), ("1M", 10**6), ("1e3", 1000), ("12E", 12 * 10**18), ("1Ei", 2**60)),
        *(("100n", 1e-7), ("", None), ("lots", None), ("1Kb", None), ("E", None)),
    ],
)
def test_quantities(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="no quantity"):
            quantity(text)
    else:
        assert float(quantity(text)) == value


def test_a_pod_takes_what_its_containers_and_sidecars_take_together() -> None:
    sidecar = _container(cpu="100m") | {"restartPolicy": "Always"}
    spec = {"containers": [_container(cpu="1", memory="1Gi"), _container(cpu="500m")]}

    assert requests(spec) == Amount(1500, GIB)
    assert requests(spec | {"initContainers": [_container(cpu="3")]}).cpu == 3000
    assert requests(spec | {"initContainers": [_container(cpu="1")]}).cpu == 1500
    assert requests(spec | {"initContainers": [sidecar]}).cpu == 1600
    assert requests(spec | {"initContainers": [sidecar, _container(cpu="3")]}).cpu == 3100
    assert requests(spec | {"overhead": {"cpu": "10m"}}).cpu == 1510
    assert requests(spec | {"resources": {"requests": {"cpu": "5"}}}) == Amount(5000, GIB)
    limited = {"name": "c", "resources": {"limits": {"cpu": "2"}}}
    assert requests({"containers": [limited]}).cpu == 2000, "a limit is the request left out"


def test_what_makes_no_sense_is_left_to_the_api_server() -> None:
    assert parse_needs({"containers": [_container(cpu="lots")]}, cores=1) is None
    assert parse_needs({"affinity": {"nodeAffinity": []}, "tolerations": [7]}, cores=1) is None


def test_an_exclusive_pool_needs_what_its_deployment_asks_for() -> None:
    template = {"spec": {"nodeSelector": {"disk": "ssd"}}}
    pool = parse(stored({"spec.cpu.cores": 2, "spec.template": template}))
    manifest = deployment(pool, image="i", pull_policy="Never")

    needs = parse_needs(manifest["spec"]["template"]["spec"], 2)

    assert needs == Needs(Amount(2000, GIB // 2), cores=2, selector=(("disk", "ssd"),))


# --- the inventory


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
    assert total(inventory, Key("shop", "other")) == 1


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
    assert total(inventory, Key("shop", "other")) == 1
    inventory.listed(NODES, {"n2"})
    assert total(inventory, Key("shop", "other")) == 0


# --- rejections


def rejected(name: str, ago: float, reason: str = "UnexpectedAdmissionError") -> Pod:
    return pod(
        name,
        amount=Amount(0, 0, 0),
        over=True,
        rejection=reason,
        message="not enough cpus",
        created=NOW - timedelta(seconds=ago),
    )


@pytest.mark.parametrize(
    ("ages", "held"),
    [
        ([9], True),
        ([11], False),
        ([11, 200], True),  # twice as long after the second
        ([21, 200], False),
        ([299] + [400] * 9, True),  # five minutes at most
        ([301] + [400] * 9, False),
        ([15] + [1900] * 9, False),  # forgotten after half an hour
    ],
)
def test_after_a_rejection_nobody_is_tried_for_a_while_and_longer_each_time(
    ages: list[float],
    held: bool,  # noqa: FBT001  a column of the table
) -> None:
    pods = [rejected(f"r{number}", ago) for number, ago in enumerate(ages)] + [pod("works")]

    found = places(ONE_CORE, 5, pods, NOW)

    assert (found.total, bool(found.refusal)) == ((1, True) if held else (6, False))


def test_the_remedy_for_hyper_threading_is_named() -> None:
    found = places(ONE_CORE, 5, [rejected("r", 1, "SMTAlignmentError")], NOW)

    assert "spec.cpu.cores: 2" in found.refusal
    assert "full-pcpus-only" in found.refusal
    other = places(ONE_CORE, 5, [rejected("r", 1)], NOW)
    assert "n1 turned a pod away (UnexpectedAdmissionError: not enough cpus)" in other.refusal


def test_a_pod_that_was_turned_away_as_the_api_has_it() -> None:
    body = {
        "metadata": {
            "name": "images-worker-x",
            "namespace": "shop",
            "labels": {"workerpool.dev/pool": "images"},
            "creationTimestamp": "2026-03-01T12:00:00Z",
        },
        "spec": {"nodeName": "n1", "containers": [_container(cpu="1")]},
        "status": {"phase": "Failed", "reason": "SMTAlignmentError", "message": "SMT Alignment"},
    }

    parsed = parse_pod(body)

    assert (parsed.pool, parsed.rejection, parsed.over) == (POOL, "SMTAlignmentError", True)
    assert parsed.amount == Amount(0, 0, 0)
    assert parsed.created == NOW
    evicted = body | {"status": {"phase": "Failed", "reason": "Evicted"}}
    assert parse_pod(evicted).rejection == ""


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
    assert shortage == "3 cores missing: 5 replicas wanted, and n1 has no core."
