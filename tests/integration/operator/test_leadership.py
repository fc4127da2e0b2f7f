"""Several operators, one of which works: real processes, a real API server, a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from kubernetes.aio import client

from support.api_server import ApiServer
from support.fault_proxy import FaultProxy
from support.leadership import forget_the_lease, hold_still, holder, leads, let_go, pair, replica
from support.operator_process import HASTY, LEASE, NAMESPACE, OperatorProcess, await_right
from support.redis_stage import RedisStage
from support.shop import Shop
from support.waiting import eventually
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import Conflict, NotFound, NotLeading
from workerpool_operator.registry import deployment_record
from workerpool_operator.resource import Key, parse
from workerpool_operator.workload import deployment

JOBS = [b"{}"] * 200
LEASE_ROLE = (
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/workerpool-operator-lease"
)
LONG = 120
"""Seconds nobody here waits for: what happens sooner was no lease running out."""
SHORT = 10
"""Seconds: beyond a stall of a busy machine, short enough to be waited for."""


@pytest.fixture
def pair_api(own_api: ApiServer) -> Iterator[ApiServer]:
    """Return a cluster whose Lease is nobody's."""
    forget_the_lease(own_api)
    yield own_api
    forget_the_lease(own_api)


def test_one_works_and_the_other_is_warm(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with pair(pair_api, lease_seconds=LONG) as (first, second):
        own_shop.add()
        own_shop.await_condition("QueueReachable", "True", "Connected")
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)

        assert (leads(first), leads(second), holder(pair_api)) == (True, False, "a")
        assert (second.health("readyz"), second.health("healthz")) == (200, 200)
        mine = f'namespace="{own_shop.namespace}"'
        assert any(mine in name for name in first.metrics())
        assert not any(mine in name for name in second.metrics())
        assert len(stage.connections()) == 1, "whoever does not lead reads no queue"


def test_a_leader_that_is_killed_is_followed_when_its_lease_has_run_out(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with pair(pair_api, lease_seconds=SHORT) as (first, second):
        own_shop.add()
        own_shop.await_rest()
        with own_shop.writes() as writes:
            first.kill()
            stage.client.rpush(own_shop.queue(), *JOBS)
            own_shop.await_replicas(20)

        assert writes.counts() == [20]
        eventually(lambda: leads(second), "another leader")
        assert second.entries(message="leading")


def test_a_rollout_hands_over_without_waiting_for_the_lease(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with pair(pair_api, lease_seconds=LONG) as (first, second):
        own_shop.add()
        own_shop.await_condition("QueueReachable", "True", "Connected")
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
        with own_shop.writes() as writes:
            status, _ = first.stop()
            stage.client.rpush(own_shop.queue(), *JOBS[:100])
            own_shop.await_replicas(30)

        assert status == 0
        assert writes.counts() == [30], "and nothing was moved by the hand-over itself"
        assert leads(second)


def test_a_leader_that_was_held_still_beyond_its_lease_writes_nothing_any_more(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    """It is held still while it waits to shrink; meanwhile another has grown the pool."""
    window = 15.0
    with pair(pair_api, lease_seconds=SHORT) as (first, second):
        own_shop.add(scaleDown={"stabilizationSeconds": int(window)})
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
        stage.client.delete(own_shop.queue())
        own_shop.await_reason("Stabilizing")
        hold_still(first)
        held = time.monotonic()
        try:
            stage.client.rpush(own_shop.queue(), *JOBS, *JOBS)
            eventually(lambda: leads(second), "another leader")
            own_shop.await_replicas(40)
            eventually(lambda: time.monotonic() - held > window, "the end of the wait")
            with own_shop.writes() as writes:
                let_go(first)
                eventually(lambda: not first.running, "the end of the first")
                own_shop.edit(maxReplicas=41)  # to know when the other has written again
                eventually(lambda: own_shop.status().get("observedGeneration") == 2, "a word")
        finally:
            if first.running:
                let_go(first)

        assert writes.of() == []
        assert first.entries(message="lost the lease", holder="b")
        resumed = first.log.index("lost the lease")
        assert "Scaled from" not in first.log[resumed:]


async def test_a_write_that_the_network_held_back_is_refused_when_it_arrives(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    """No check before a write covers what happens to it on its way: its precondition does."""
    # The request arrives whole, and only then that its sender has given it up.
    async with FaultProxy(pair_api.port, gap_seconds=0.5) as proxy:
        address = f"https://127.0.0.1:{proxy.port}"
        first = replica(pair_api, "a", lease_seconds=SHORT, server=address, settings=HASTY)
        await asyncio.to_thread(first.__enter__)
        try:
            await asyncio.to_thread(_grow_behind, pair_api, own_shop, stage, proxy, first)
        finally:
            proxy.flow()
            await asyncio.to_thread(first.__exit__, None, None, None)


def _grow_behind(
    api: ApiServer, shop: Shop, stage: RedisStage, proxy: FaultProxy, first: OperatorProcess
) -> None:
    shop.add(minReplicas=1)
    shop.await_replicas(1)
    shop.await_condition("QueueReachable", "True", "Connected")
    eventually(lambda: shop.status().get("replicas") == 1, "the status")
    proxy.stall()
    stage.client.rpush(shop.queue(), *JOBS[:30])  # three replicas, it thinks, and sends that
    eventually(lambda: "scale not written" in first.log, "a scaling that gets no answer")
    with replica(api, "b", lease_seconds=SHORT):
        stage.client.rpush(shop.queue(), *JOBS)
        shop.await_replicas(23)
        with shop.writes() as writes:
            proxy.flow()
            eventually(lambda: not first.running, "the end of the first")
            time.sleep(1)  # for what the network still held
        assert writes.of() == []
        assert shop.replicas() == 23


def test_an_api_server_that_is_away_longer_than_the_lease_leaves_one_leader(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with pair(pair_api, lease_seconds=SHORT) as (first, second):
        own_shop.add()
        own_shop.await_condition("QueueReachable", "True", "Connected")
        pair_api.kill()
        eventually(lambda: not leads(first), "a leader that puts its pen down")
        stage.client.rpush(own_shop.queue(), *JOBS)
        assert (first.health("healthz"), first.running) == (200, True)
        pair_api.start()

        own_shop.await_replicas(20)
        eventually(lambda: sum(map(leads, (first, second))), "a leader")
        assert sum(map(leads, (first, second))) <= 1


def test_a_container_that_is_restarted_goes_on_with_its_own_lease_at_once(
    pair_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with replica(pair_api, "a", lease_seconds=LONG) as operator:
        own_shop.add()
        own_shop.await_condition("QueueReachable", "True", "Connected")
        operator.kill()
        operator.start()
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)


def test_without_rights_to_the_lease_it_says_so_and_does_not_lead(
    pair_api: ApiServer, own_shop: Shop
) -> None:
    role = pair_api.request("GET", LEASE_ROLE).body
    try:
        _set_rules(pair_api, [])
        lease = {"group": "coordination.k8s.io", "resource": "leases", "name": LEASE}
        await_right(pair_api, granted=False, verb="get", namespace=NAMESPACE, **lease)
        with replica(pair_api, "a", lease_seconds=SHORT) as operator:
            own_shop.add()
            eventually(lambda: "the lease cannot be reached" in operator.log, "the complaint")
            assert "leases" in operator.log
            assert not leads(operator)
            assert own_shop.deployment() is None

            _set_rules(pair_api, role["rules"])
            own_shop.await_replicas(0)
            eventually(lambda: leads(operator), "a leader")
    finally:
        _set_rules(pair_api, role["rules"])


def _set_rules(api: ApiServer, rules: list[object]) -> None:
    merge = "application/merge-patch+json"
    answer = api.request("PATCH", LEASE_ROLE, {"rules": rules}, content_type=merge)
    assert answer.code == 200, answer.message


# --- what a write carries


@pytest.fixture
async def cluster(pair_api: ApiServer) -> AsyncIterator[Cluster]:
    configuration = client.Configuration()
    configuration.host = pair_api.url
    configuration.ssl_ca_cert = str(pair_api.folder / "ca.crt")
    configuration.cert_file = str(pair_api.folder / "admin.crt")
    configuration.key_file = str(pair_api.folder / "admin.key")
    cluster = Cluster(client.ApiClient(configuration), timeout=30)
    yield cluster
    await cluster.close()


def _manifest(shop: Shop) -> tuple[Key, dict[str, object]]:
    shop.add()
    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools/images"
    pool = parse(shop.api.request("GET", path).body)
    key = Key(shop.namespace, "images-worker")
    return key, deployment(pool, image="image-worker:test", pull_policy="Never")


async def test_without_the_lease_nothing_is_sent_but_questions(
    own_shop: Shop, cluster: Cluster
) -> None:
    key, manifest = _manifest(own_shop)
    cluster.write_seconds = lambda: 0.0

    with pytest.raises(NotLeading):
        await cluster.create_deployment(key, manifest, 0)
    with pytest.raises(NotFound):
        await cluster.read_deployment(key)


async def test_a_scaling_of_what_has_changed_since_is_refused(
    own_shop: Shop, cluster: Cluster
) -> None:
    key, manifest = _manifest(own_shop)
    seen = deployment_record(await cluster.create_deployment(key, manifest, 5))
    own_shop.scale_by_hand(20)
    own_shop.scale_by_hand(5)  # as it was, and yet not the same

    with pytest.raises(Conflict):
        await cluster.scale_deployment(key, 0, seen.version)
    assert own_shop.replicas() == 5


async def test_a_scaling_of_what_a_successor_took_over_since_is_refused(
    own_shop: Shop, cluster: Cluster
) -> None:
    key, manifest = _manifest(own_shop)
    seen = deployment_record(await cluster.create_deployment(key, manifest, 5))
    await cluster.touch_deployment(key, seen.version)

    with pytest.raises(Conflict):
        await cluster.scale_deployment(key, 2, seen.version)
    now = deployment_record(await cluster.read_deployment(key))
    assert (now.replicas, now.applied, now.live) == (5, seen.applied, seen.live)
    await cluster.touch_deployment(key, now.version)
    with pytest.raises(Conflict):
        await cluster.scale_deployment(key, 2, now.version)


async def test_applying_a_template_to_a_deployment_that_is_gone_makes_none(
    own_shop: Shop, cluster: Cluster
) -> None:
    """It would start at one replica: the API server's default where a count is left out."""
    key, manifest = _manifest(own_shop)
    seen = deployment_record(await cluster.create_deployment(key, manifest, 0))
    own_shop.remove_deployment()

    with pytest.raises(Conflict, match="uid"):
        await cluster.apply_deployment(key, manifest, seen.uid)
    assert own_shop.deployment() is None

    await cluster.create_deployment(key, manifest, 0)
    with pytest.raises(Conflict):
        await cluster.apply_deployment(key, manifest, seen.uid)
    assert own_shop.replicas() == 0
