"""Pools from creation to deletion: a real API server, a real Redis, the operator as a process.

Nobody plays the Deployment controller here but the tests themselves.
"""

import time
from collections.abc import Iterator

import pytest

from support.operator_process import OperatorProcess
from support.redis_server import RedisServer
from support.redis_stage import RedisStage, redis_stage
from support.sentinels import SentinelGroup
from support.shop import Shop
from support.waiting import eventually

JOBS = [b"{}"] * 200


def test_a_push_is_answered_by_one_single_write_to_the_right_count(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add(maxReplicas=40)
    shop.await_rest()
    with shop.writes() as writes:
        stage.client.rpush(shop.queue(), *JOBS)
        shop.await_replicas(20)
        eventually(lambda: shop.status().get("replicas") == 20, "the status")

    assert [write.replicas for write in writes.of()] == [20]
    status = shop.status()
    assert (status["desiredReplicas"], status["replicas"], status["reason"]) == (20, 20, "Backlog")
    assert status["message"] == "200 waiting at 10 per replica ask for 20: 20 replicas"
    event = shop.event("Backlog")
    assert event["note"].startswith("Scaled from 0 to 20: 200 waiting")
    assert event["regarding"]["name"] == "images"


def test_a_pool_for_a_queue_that_is_full_already_goes_up_in_one_step(
    shop: Shop, stage: RedisStage
) -> None:
    """While its Deployment is being made, its size is nobody's to change."""
    names = [f"pool-{number}" for number in range(20)]
    for name in names:
        stage.client.rpush(shop.queue(name), *JOBS)
    with shop.writes() as writes:
        for name in names:
            shop.add(name)
        for name in names:
            shop.await_replicas(20, name)
            eventually(
                lambda name=name: shop.status(name).get("replicas") == 20,  # type: ignore[misc]
                f"the status of {name}",
            )

    assert {name: writes.counts(name) for name in names} == {name: [0, 20] for name in names}


@pytest.mark.parametrize("least", [0, 1, 3])
def test_a_new_deployment_begins_at_the_minimum_and_never_at_one(shop: Shop, least: int) -> None:
    with shop.writes() as writes:
        shop.add(minReplicas=least)
        shop.await_condition("QueueReachable", "True", "Connected")
        eventually(lambda: shop.status().get("replicas") == least, "the status")

    assert writes.counts() == [least]


def test_it_goes_back_to_the_minimum_after_the_window_and_not_before(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add(minReplicas=1, scaleDown={"stabilizationSeconds": 3600})
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)

    with shop.writes() as writes:
        stage.client.delete(shop.queue())
        shop.await_reason("Stabilizing")
        _settle(shop)
        assert shop.replicas() == 20
        shop.edit(scaleDown={"stabilizationSeconds": 2})
        shop.await_replicas(1)

    assert writes.counts() == [1], "in a single step"


def test_of_a_queue_of_others_only_what_waits_is_known_and_nothing_is_written(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add(queue__delivery="at-most-once")
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    shop.await_condition("InFlightKnown", "False", "AtMostOnce")
    variables = {v["name"]: v.get("value") for v in shop.pod()["containers"][0]["env"]}
    assert variables["WORKERPOOL_DELIVERY"] == "at-most-once"
    eventually(lambda: shop.status().get("waiting") == 200, "the status")
    assert "busy" not in shop.status()
    stage.client.delete(shop.queue())
    shop.await_replicas(0)
    assert list(stage.client.scan_iter()) == []


def test_jobs_in_flight_keep_their_workers(shop: Shop, stage: RedisStage) -> None:
    shop.add(scaleDown={"stabilizationSeconds": 0}, target={"backlogPerReplica": 1})
    stage.client.rpush(shop.queue(), *JOBS[:8])
    shop.await_replicas(8)

    # Workers claim: the list is empty, and eight jobs have a lease.
    prefix = f"{{{shop.queue()}}}:"
    leases = {f"job-{number}": 9e15 for number in range(8)}
    with stage.client.pipeline(transaction=True) as pipeline:
        pipeline.zadd(f"{prefix}inflight", leases)
        pipeline.delete(shop.queue())
        pipeline.execute()
    eventually(lambda: shop.status().get("busy") == 8, "the claims")
    assert shop.replicas() == 8

    stage.client.zrem(f"{prefix}inflight", *list(leases)[:5])
    shop.await_replicas(3)
    stage.client.delete(f"{prefix}inflight")
    shop.await_replicas(0)


def test_a_retry_that_becomes_due_wakes_a_pool_that_sleeps(shop: Shop, stage: RedisStage) -> None:
    """Redis tells nothing of time's passing."""
    shop.add(scaleDown={"stabilizationSeconds": 0})
    shop.await_condition("QueueReachable", "True", "Connected")
    seconds, microseconds = stage.client.time()
    due = seconds * 1000 + microseconds // 1000 + 1500
    stage.client.zadd(f"{{{shop.queue()}}}:retry", {"job": due})

    eventually(lambda: shop.replicas() == 1, "a worker for the retry")
    seconds, microseconds = stage.client.time()
    assert seconds * 1000 + microseconds // 1000 >= due


# --- the Deployment


def test_a_new_template_is_applied_and_the_replicas_stay(shop: Shop, stage: RedisStage) -> None:
    shop.add()
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    with shop.writes() as writes:
        shop.edit(template={"spec": {"containers": [{"name": "worker", "image": "mine:2"}]}})
        eventually(lambda: shop.image() == "mine:2", "the new image")
        shop.edit(template={"spec": {"containers": [{"name": "worker", "image": "mine:3"}]}})
        eventually(lambda: shop.image() == "mine:3", "the newer image")

    assert {write.replicas for write in writes.of()} == {20}


@pytest.mark.parametrize("least", [0, 2])
def test_a_new_template_of_a_pool_that_was_never_scaled_leaves_the_replicas(
    shop: Shop, least: int
) -> None:
    """Whoever applies a Deployment without replicas gets one, if nobody else holds the field."""
    shop.add(minReplicas=least)
    shop.await_replicas(least)
    with shop.writes() as writes:
        shop.edit(template={"spec": {"nodeSelector": {"disk": "fast"}}})
        eventually(lambda: shop.pod().get("nodeSelector") == {"disk": "fast"}, "the node selector")
        shop.edit(template=None)
        eventually(lambda: "nodeSelector" not in shop.pod(), "the end of the node selector")

    assert {write.replicas for write in writes.of()} == {least}


def test_an_image_changed_by_hand_is_put_back_once(shop: Shop) -> None:
    shop.add()
    shop.await_rest()
    with shop.writes() as writes:
        containers = shop.pod()["containers"]
        containers[0]["image"] = "evil:1"
        shop.change_deployment({"spec": {"template": {"spec": {"containers": containers}}}})
        eventually(lambda: shop.image() == "image-worker:test", "the own image")
        _settle(shop)

    assert len(writes.of()) == 2, "theirs and ours"


def test_what_others_add_to_the_deployment_is_left_to_them(shop: Shop) -> None:
    """Restarting by `kubectl rollout restart` is an annotation of the template."""
    shop.add()
    shop.await_rest()
    annotation = {"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"}
    with shop.writes() as writes:
        shop.change_deployment({"spec": {"template": {"metadata": {"annotations": annotation}}}})
        _settle(shop)

    deployment = shop.existing()
    found = deployment["spec"]["template"]["metadata"]["annotations"]
    assert found.items() >= annotation.items()
    assert len(writes.of()) <= 2, "no fight over it"


def test_a_scaling_by_hand_is_corrected(shop: Shop) -> None:
    shop.add()
    shop.await_condition("Ready", "True", "Ready")
    shop.scale_by_hand(7)
    shop.await_replicas(0)


def test_a_deleted_deployment_is_made_again_and_as_large_as_needed(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add()
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    with shop.writes() as writes:
        shop.remove_deployment()
        shop.await_replicas(20)

    assert writes.counts() == [0, 20]


def test_a_foreign_deployment_of_that_name_is_not_touched(shop: Shop, stage: RedisStage) -> None:
    theirs = shop.create_deployment(_foreign("images-worker"))
    stage.client.rpush(shop.queue(), *JOBS)
    shop.add()
    shop.await_condition("Ready", "False", "DeploymentConflict")
    _settle(shop)

    now = shop.existing()
    assert now["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]
    event = shop.event("DeploymentConflict")
    assert event["type"] == "Warning"
    assert "delete or rename" in event["note"]

    shop.remove_deployment()
    shop.await_replicas(20)
    shop.await_condition("Ready", "False", "WorkersNotReady")


def test_a_copy_of_a_deployment_is_neither_scaled_nor_taken_for_the_pools(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add()
    shop.await_rest()
    copy = shop.existing()
    copy["metadata"] = {
        "name": "canary-of-images",
        "labels": copy["metadata"]["labels"],
        "annotations": copy["metadata"]["annotations"],
        "ownerReferences": copy["metadata"]["ownerReferences"],
    }
    copy["spec"]["replicas"] = 3
    del copy["status"]
    with shop.writes() as writes:
        shop.create_deployment(copy)
        stage.client.rpush(shop.queue(), *JOBS)
        shop.await_replicas(20)
        _settle(shop)

    assert writes.counts("canary-of-images") == [3]
    assert writes.counts() == [20]


def test_ready_counts_the_pods_that_are_ready(shop: Shop) -> None:
    shop.add(minReplicas=2)
    shop.await_condition("Ready", "False", "WorkersNotReady")
    shop.report_pods(2)
    shop.await_condition("Ready", "True", "Ready")
    eventually(lambda: shop.status().get("readyReplicas") == 2, "the ready pods")


def test_a_template_the_api_server_refuses_is_told_and_left_when_taken_back(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add()
    shop.await_condition("Ready", "True", "Ready")
    shop.edit(template={"spec": {"dnsPolicy": "Sometimes"}})
    shop.await_condition("Ready", "False", "ApplyFailed")
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)  # a mistake in the template is no reason not to scale

    stage.client.delete(shop.queue())
    shop.await_replicas(0)
    shop.edit(template=None)
    shop.await_condition("Ready", "True", "Ready")
    assert len(shop.events("ApplyFailed")) == 1, "told once, however often it was tried"


def test_a_template_that_cannot_be_merged_harms_its_own_pool_alone(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add("broken", template={"spec": {"volumes": [{"emptyDir": {}}]}})
    shop.add("dashless", template={"spec": {"initContainers": {"name": "migrate"}}})
    shop.add("fine")
    stage.client.rpush(shop.queue("fine"), *JOBS)

    shop.await_replicas(20, "fine")
    shop.await_condition("Ready", "False", "InvalidSpec", "broken")
    assert "spec.template.spec.volumes[0].name is missing" in shop.status("broken")["message"]
    shop.await_condition("Ready", "False", "InvalidSpec", "dashless")

    shop.edit("broken", template=None)
    shop.await_condition("Ready", "True", "Ready", "broken")


# --- the spec


def test_a_paused_pool_is_left_alone_until_it_is_not(shop: Shop, stage: RedisStage) -> None:
    shop.add(paused=True)
    eventually(lambda: shop.status().get("reason") == "Paused", "the pause")
    stage.client.rpush(shop.queue(), *JOBS)
    eventually(lambda: shop.status().get("waiting") == 200, "the backlog, reported all the same")
    assert shop.replicas() == 0
    shop.scale_by_hand(4)
    _settle(shop)
    assert shop.replicas() == 4, "people may do as they like meanwhile"

    shop.edit(paused=False)
    shop.await_replicas(20)


def test_a_lower_maximum_cuts_at_once(shop: Shop, stage: RedisStage) -> None:
    shop.add(scaleDown={"stabilizationSeconds": 3600})
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)

    shop.edit(maxReplicas=5)

    shop.await_replicas(5)
    shop.await_condition("ScalingLimited", "True", "MaxReplicas")
    shop.edit(maxReplicas=40)
    shop.await_replicas(20)
    shop.await_condition("ScalingLimited", "False", "WithinLimits")


def test_a_pool_follows_its_spec_to_another_list(shop: Shop, stage: RedisStage) -> None:
    shop.add()
    shop.await_condition("QueueReachable", "True", "Connected")
    stage.client.rpush("elsewhere", *JOBS)

    shop.edit(queue={"list": "elsewhere", "redis": {"url": shop.redis_url}})

    shop.await_replicas(20)


# --- the queue


@pytest.fixture
def own_redis() -> Iterator[RedisStage]:
    with redis_stage(appendonly="yes") as stage:
        yield stage


def test_a_redis_that_is_gone_holds_the_pool_and_says_so_once(
    shop: Shop, own_redis: RedisStage
) -> None:
    shop.redis_url = own_redis.server.url
    shop.add(scaleDown={"stabilizationSeconds": 1})
    own_redis.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    with shop.writes() as writes:
        own_redis.server.kill()
        shop.await_condition("QueueReachable", "False", "Unreachable")
        shop.await_condition("Ready", "False", "QueueUnreachable")
        status = shop.status()
        assert "waiting" not in status, "unknown is not zero"
        assert status["desiredReplicas"] == 20
        _settle(shop, seconds=2.5)  # longer than the window
        assert shop.replicas() == 20

        own_redis.server.start()
        shop.await_condition("QueueReachable", "True", "Connected")
        eventually(lambda: shop.status().get("waiting") == 200, "the backlog")
    assert writes.of() == []
    assert shop.event("QueueUnreachable")["type"] == "Warning"
    shop.event("QueueReachable")


def test_a_missing_secret_is_told_and_found_when_it_comes(
    shop: Shop, own_redis: RedisStage
) -> None:
    own_redis.require("secret")
    redis = {"url": own_redis.server.url, "secretRef": {"name": "redis"}}
    shop.add(queue__redis=redis)
    shop.await_condition("QueueReachable", "False", "SecretMissing")
    event = shop.event("QueueUnreachable")
    assert f"the Secret {shop.namespace}/redis does not exist".lower() in event["note"].lower()

    shop.put_secret("redis", password="wrong")  # noqa: S106
    shop.await_condition("QueueReachable", "False", "AuthenticationFailed")
    shop.put_secret("redis", password="secret")  # noqa: S106
    shop.await_condition("QueueReachable", "True", "Connected")
    own_redis.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)


def test_what_else_is_in_a_secret_does_no_harm(shop: Shop, own_redis: RedisStage) -> None:
    shop.put_secret("redis")
    path = f"/api/v1/namespaces/{shop.namespace}/secrets/redis"
    keystore = {"data": {"keystore.jks": "/v8AAQ=="}}
    answer = shop.api.request("PATCH", path, keystore, content_type="application/merge-patch+json")
    assert answer.code == 200
    shop.add(queue__redis={"url": own_redis.server.url, "secretRef": {"name": "redis"}})

    shop.await_condition("QueueReachable", "True", "Connected")


def test_nobody_listens_at_the_address(shop: Shop) -> None:
    with RedisServer() as server:
        shop.redis_url = server.url
    shop.add()
    shop.await_condition("QueueReachable", "False", "Unreachable")
    shop.await_replicas(0)


def test_a_pool_behind_sentinels_is_scaled_by_the_masters_queue(shop: Shop) -> None:
    with SentinelGroup() as group:
        shop.add(queue__redis={"url": "redis://wrong", "sentinels": list(group.addresses)})
        shop.await_condition("QueueReachable", "False", "UnknownMaster")
        redis = {"url": "redis://mymaster/0", "sentinels": list(group.addresses)}
        shop.edit(queue={"redis": redis})
        shop.await_condition("QueueReachable", "True", "Connected")
        group.master.client().rpush(shop.queue(), *JOBS)
        shop.await_replicas(20)
    told = {v["name"]: v.get("value") for v in shop.pod()["containers"][0]["env"]}
    assert told["WORKERPOOL_REDIS_SENTINELS"] == ",".join(group.addresses)
    assert told["WORKERPOOL_REDIS_SENTINEL_MASTER"] == "mymaster"


def test_pools_of_one_redis_share_one_connection(shop: Shop, own_redis: RedisStage) -> None:
    shop.redis_url = own_redis.server.url
    names = [f"pool-{number}" for number in range(30)]
    for name in names:
        shop.add(name)
    for name in names:
        shop.await_condition("QueueReachable", "True", "Connected", name)

    eventually(lambda: len(own_redis.connections()) == 1, "a single connection")
    own_redis.client.rpush(shop.queue(names[17]), *JOBS)
    shop.await_replicas(20, names[17])
    assert sum(shop.replicas(name) or 0 for name in names) == 20


def test_two_pools_on_one_list_are_both_told(shop: Shop, stage: RedisStage) -> None:
    shared = {"list": "shared", "redis": {"url": shop.redis_url}}
    shop.add("one", queue=shared)
    shop.add("two", queue=shared)
    stage.client.rpush("shared", *JOBS)

    shop.await_replicas(20, "one")
    shop.await_replicas(20, "two")


# --- the end


def test_the_last_pool_of_a_redis_takes_its_connection_along(
    shop: Shop, own_redis: RedisStage
) -> None:
    shop.redis_url = own_redis.server.url
    shop.add("one")
    shop.add("two")
    shop.await_condition("QueueReachable", "True", "Connected", "two")

    shop.remove("one")
    own_redis.client.rpush(shop.queue("two"), *JOBS)
    shop.await_replicas(20, "two")
    eventually(lambda: len(own_redis.connections()) == 1, "a single connection")

    shop.remove("two")
    eventually(lambda: own_redis.connections() == [], "the end of the connection")


def test_a_deleted_pool_is_forgotten_everywhere(
    shop: Shop, stage: RedisStage, operator: OperatorProcess
) -> None:
    shop.add()
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    assert _is_known(shop, operator)

    shop.remove()

    eventually(lambda: not _is_known(shop, operator), "forgotten metrics")
    with shop.writes() as writes:
        stage.client.rpush(shop.queue(), *JOBS)
        _settle(shop)
    assert writes.of() == [], "the Deployment is the garbage collector's now"


def test_a_pool_made_anew_under_its_name_gets_a_deployment_of_its_own(
    shop: Shop, stage: RedisStage
) -> None:
    stage.client.rpush(shop.queue(), *JOBS)
    shop.add()
    shop.await_replicas(20)
    shop.remove()
    shop.add(maxReplicas=5)
    shop.await_condition("Ready", "False", "DeploymentConflict")
    assert shop.replicas() == 20, "until it is collected, the old one is somebody else's"

    shop.remove_deployment()  # as the garbage collector would

    shop.await_replicas(5)
    deployment = shop.existing()
    (owner,) = deployment["metadata"]["ownerReferences"]
    assert owner["controller"] is True


def _is_known(shop: Shop, operator: OperatorProcess) -> bool:
    return any(f'namespace="{shop.namespace}"' in name for name in operator.metrics())


def test_a_pool_that_is_being_deleted_gets_no_new_deployment(
    shop: Shop, operator: OperatorProcess
) -> None:
    """In the foreground, its Deployment goes first; making it again would be a fight."""
    shop.add()
    shop.await_rest()
    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools/images"
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    merge = "application/merge-patch+json"
    assert shop.api.request("PATCH", path, held, content_type=merge).code == 200
    shop.remove()
    eventually(lambda: not _is_known(shop, operator), "word of its end")

    shop.remove_deployment()
    _settle(shop, seconds=2.5)  # longer than it takes to sweep

    assert shop.deployment() is None
    released = {"metadata": {"finalizers": None}}
    assert shop.api.request("PATCH", path, released, content_type=merge).code == 200


# --- what it costs


def test_an_idle_pool_is_not_written_about(shop: Shop) -> None:
    shop.add()
    shop.await_rest()
    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools/images"
    _settle(shop)
    before = shop.api.request("GET", path).body["metadata"]["resourceVersion"]
    _settle(shop, seconds=3)

    assert shop.api.request("GET", path).body["metadata"]["resourceVersion"] == before


def test_a_status_is_written_once_a_second_at_most(shop: Shop, stage: RedisStage) -> None:
    shop.add(maxReplicas=1)
    shop.await_rest()
    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools/images"
    versions = set()

    def push() -> bool:
        stage.client.rpush(shop.queue(), b"{}")
        versions.add(shop.api.request("GET", path).body["metadata"]["resourceVersion"])
        return len(versions) == 5

    began = time.monotonic()
    eventually(push, "four changes of the status")
    assert time.monotonic() - began > 2.9


# --- what helps the tests


def _settle(shop: Shop, *, seconds: float = 1.0) -> None:
    """Give the operator time for what it must not do."""
    del shop
    time.sleep(seconds)


def _foreign(name: str) -> dict[str, object]:
    labels = {"app": "theirs"}
    pod = {"containers": [{"name": "main", "image": "theirs:1"}]}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
