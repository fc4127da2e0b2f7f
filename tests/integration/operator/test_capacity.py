"""Exclusive pools and the cores there are: nodes and bound pods are written by hand."""

from collections.abc import Iterator

import pytest

from support.api_server import ApiServer
from support.nodes import Nodes, nodes_of
from support.operator_process import OperatorProcess, await_right
from support.redis_stage import RedisStage
from support.shop import Shop
from support.waiting import eventually

JOBS = [b"{}"] * 50
COUNTS = {"WORKERPOOL_CAPACITY": "true"}
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/workerpool-system:workerpool-operator"


@pytest.fixture
def nodes(own_api: ApiServer) -> Iterator[Nodes]:
    """Return two nodes with one core each."""
    with nodes_of(own_api) as nodes:
        nodes.add(1, labels={"disk": "ssd"})
        nodes.add(1)
        yield nodes


@pytest.fixture
def counting(own_api: ApiServer, nodes: Nodes) -> Iterator[OperatorProcess]:
    """Return an operator that looks at nodes."""
    del nodes
    with OperatorProcess(own_api, COUNTS) as operator:
        eventually(lambda: operator.entries(message="room on the nodes is known"), "a first look")
        yield operator
        assert "Traceback" not in operator.log


def await_words(shop: Shop, words: str, name: str = "images") -> None:
    """Wait until the condition says this of the limit."""
    shop.await_words("ScalingLimited", words, name)


def ask(shop: Shop, replicas: int) -> None:
    """Let the pool want so many replicas, and wait until its nodes are known to it."""
    shop.add(maxReplicas=replicas, target={"backlogPerReplica": 1})


def await_room(shop: Shop, stage: RedisStage, replicas: int) -> None:
    """Wait until the operator has heard of so much room, by a pool that only says what it sees."""
    stage.client.rpush(shop.queue("looker"), *JOBS)
    shop.add("looker", dryRun=True, maxReplicas=50, target={"backlogPerReplica": 1})
    await_words(shop, f"the nodes have room for {replicas}", "looker")


@pytest.mark.usefixtures("counting")
def test_one_pod_more_than_there_are_cores_is_asked_for_and_each_new_node_is_used_at_once(
    own_shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    ask(own_shop, 5)
    own_shop.await_condition("QueueReachable", "True", "Connected")
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.await_replicas(3)
    own_shop.await_condition("ScalingLimited", "True", "InsufficientCores")
    await_words(own_shop, "3 cores missing: 5 replicas wanted, and the nodes have room for 2")
    (event, *_) = eventually(lambda: own_shop.events("InsufficientCores"), "an Event")
    assert "Scaled from 0 to 3" in event["note"]

    nodes.add(2)
    own_shop.await_replicas(5)
    await_words(own_shop, "1 core missing")
    nodes.add(1)
    own_shop.await_condition("ScalingLimited", "True", "MaxReplicas")


@pytest.mark.usefixtures("counting")
def test_the_pods_of_others_take_cores_and_so_do_those_that_are_on_their_way_out(
    own_shop: Shop, own_api: ApiServer, stage: RedisStage, nodes: Nodes
) -> None:
    ask(own_shop, 5)
    own_shop.await_condition("QueueReachable", "True", "Connected")
    big = nodes.add(2)
    other = Shop(own_api, stage.server.url)
    theirs = nodes.bind(other.namespace, big)
    await_room(own_shop, stage, 3)
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.await_replicas(4)
    await_words(own_shop, "2 cores missing")

    nodes.end(theirs)  # it has its core until it is gone
    mine = nodes.bind(own_shop.namespace, big, pool="images")  # one of the pool's own has a place
    await_words(own_shop, "2 cores missing")
    nodes.remove(theirs)
    own_shop.await_replicas(5)
    await_words(own_shop, "1 core missing")
    nodes.remove(mine)


@pytest.mark.usefixtures("counting")
def test_only_nodes_that_the_template_allows_are_counted(
    own_shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.add(
        maxReplicas=5,
        target={"backlogPerReplica": 1},
        template={"spec": {"nodeSelector": {"disk": "ssd"}}},
    )
    await_words(own_shop, "the nodes have room for 1")
    fast = nodes.add(3, labels={"disk": "ssd"})
    await_words(own_shop, "the nodes have room for 4")
    nodes.cordon(fast, unschedulable=True)
    await_words(own_shop, "the nodes have room for 1")
    nodes.cordon(fast, unschedulable=False)
    own_shop.await_replicas(5)


@pytest.mark.usefixtures("counting")
def test_a_pod_that_a_node_turns_away_stops_the_growth_for_a_while_and_is_explained(
    own_shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    ask(own_shop, 5)
    own_shop.await_condition("QueueReachable", "True", "Connected")
    smt = nodes.add(8)
    nodes.take_in(nodes.bind(own_shop.namespace, smt, pool="images"))
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.await_replicas(5)

    refused = nodes.bind(own_shop.namespace, smt, pool="images")
    with own_shop.writes() as writes:
        nodes.turn_away(
            refused,
            "SMTAlignmentError",
            "SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2",
        )
        own_shop.await_condition("ScalingLimited", "True", "PodsRejected")
        await_words(own_shop, "4 of 5 replicas have no place")
        await_words(own_shop, "spec.cpu.cores: 2")
        (event, *_) = eventually(lambda: own_shop.events("PodsRejected"), "an Event")
        assert event["type"] == "Warning"
        assert "Scaled from 5 to 1" in event["note"]
        assert "spec.cpu.cores: 2" in event["note"]
        nodes.bind(own_shop.namespace, smt, pool="images")  # made instead, and not answered for
        own_shop.await_replicas(2)  # one is tried, when that is stale
        assert own_shop.condition("ScalingLimited") == ("True", "PodsRejected")
        nodes.take_in(nodes.bind(own_shop.namespace, smt, pool="images"))
        own_shop.await_replicas(4)  # it was taken in: two more
    assert writes.counts() == [1, 2, 4]


@pytest.mark.usefixtures("counting")
def test_a_rejection_says_nothing_of_pods_that_ask_for_other_cores(
    own_shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    ask(own_shop, 3)
    smt = nodes.add(8)
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.await_replicas(3)
    for minutes in range(9):  # so often that nobody is tried for five minutes
        refused = nodes.bind(own_shop.namespace, smt, pool="images")
        nodes.turn_away(refused, "SMTAlignmentError", "SMT Alignment Error", minutes=minutes)
    own_shop.await_replicas(0)

    own_shop.edit(cpu={"policy": "Exclusive", "cores": 2, "threadsPerCore": 2})

    own_shop.await_replicas(3)
    own_shop.await_condition("ScalingLimited", "True", "MaxReplicas")


@pytest.mark.usefixtures("counting")
def test_two_pools_do_not_count_the_same_cores(
    own_shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    """Nobody makes pods here, so what a pool asks for stays a promise."""
    for name, missing, room in (("images", 3, 2), ("films", 5, 0)):
        stage.client.rpush(own_shop.queue(name), *JOBS)
        own_shop.add(name, maxReplicas=5, target={"backlogPerReplica": 1})
        words = f"{missing} cores missing: 5 replicas wanted, and the nodes have room for {room}"
        await_words(own_shop, words, name)
    own_shop.await_replicas(3, "images")
    own_shop.await_replicas(1, "films")

    nodes.add(4)
    own_shop.await_replicas(5, "images")
    # Whoever is asked first, the other's are not free; those that wait already are left waiting.
    words = "4 cores missing: 5 replicas wanted, and the nodes have room for 1"
    await_words(own_shop, words, "films")

    own_shop.edit("images", maxReplicas=1)
    own_shop.await_replicas(5, "films")
    own_shop.remove("images")
    own_shop.edit("films", maxReplicas=6)
    own_shop.await_replicas(6, "films")


@pytest.mark.usefixtures("counting")
def test_a_share_of_a_core_is_not_counted(own_shop: Shop, stage: RedisStage) -> None:
    stage.client.rpush(own_shop.queue(), *JOBS)
    own_shop.add(
        maxReplicas=5,
        target={"backlogPerReplica": 1},
        cpu={"policy": "Shared", "request": "250m"},
    )
    own_shop.await_replicas(5)


@pytest.mark.usefixtures("nodes")
def test_without_the_right_to_see_nodes_nothing_is_limited_and_the_log_says_why(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    role = own_api.request("GET", ROLE).body
    merge = "application/merge-patch+json"
    rules = [rule for rule in role["rules"] if "nodes" not in rule["resources"]]
    assert len(rules) == len(role["rules"]) - 1
    try:
        own_api.request("PATCH", ROLE, {"rules": rules}, content_type=merge)
        await_right(own_api, granted=False, verb="list", resource="nodes")
        with OperatorProcess(own_api, COUNTS) as operator:
            eventually(lambda: "operator.capacity: false" in operator.log, "the complaint")
            ask(own_shop, 5)
            stage.client.rpush(own_shop.queue(), *JOBS)
            own_shop.await_replicas(5)
    finally:
        own_api.request("PATCH", ROLE, {"rules": role["rules"]}, content_type=merge)


def test_an_api_server_that_restarts_is_asked_anew(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage, nodes: Nodes, counting: OperatorProcess
) -> None:
    ask(own_shop, 5)
    stage.client.rpush(own_shop.queue(), *JOBS)
    await_words(own_shop, "the nodes have room for 2")
    own_api.kill()
    eventually(
        lambda: "room on the nodes is unknown for now" in counting.log, "the end of a watch"
    )
    own_api.start()
    nodes.add(1)
    await_words(own_shop, "the nodes have room for 3")
