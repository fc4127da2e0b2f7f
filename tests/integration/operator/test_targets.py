"""Pools that scale somebody else's Deployment, and keep their hands off when they must."""

import pytest

from support.redis_stage import RedisStage
from support.shop import Document, Shop
from support.waiting import eventually

JOBS = [b"{}"] * 200
REF = {"name": "legacy"}


def legacy(shop: Shop, *, replicas: int = 2, **metadata: object) -> Document:
    """Create a Deployment as its owner would, by an apply of his own."""
    labels = {"app": "legacy"}
    pod = {"containers": [{"name": "main", "image": "theirs:1"}]}
    return shop.create_deployment(
        {
            "metadata": {"name": "legacy", **metadata},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
    )


def target(shop: Shop) -> Document:
    """Return that Deployment as it is now."""
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/legacy"
    answer = shop.api.request("GET", path)
    assert answer.code == 200, answer.message
    return answer.body


def await_size(shop: Shop, replicas: int) -> None:
    eventually(lambda: target(shop)["spec"]["replicas"] == replicas, f"{replicas} replicas")


def autoscaler(shop: Shop, name: str = "legacy") -> str:
    """Create an HPA for a Deployment; return its path."""
    path = f"/apis/autoscaling/v2/namespaces/{shop.namespace}/horizontalpodautoscalers"
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    body = {"metadata": {"name": "cpu"}, "spec": {"scaleTargetRef": ref, "maxReplicas": 3}}
    answer = shop.api.request("POST", path, body)
    assert answer.code == 201, answer.message
    return f"{path}/cpu"


def test_a_deployment_of_somebody_else_is_scaled_and_nothing_else_of_it_is_written(
    shop: Shop, stage: RedisStage
) -> None:
    before = legacy(shop)
    with shop.writes() as writes:
        shop.add(targetRef=REF)
        await_size(shop, 0)
        stage.client.rpush(shop.queue(), *JOBS)
        await_size(shop, 20)
        stage.client.delete(shop.queue())
        await_size(shop, 0)

    after = target(shop)
    assert writes.counts("legacy") == [0, 20, 0]
    assert after["spec"] | {"replicas": 2} == before["spec"]
    for name in ("labels", "annotations", "ownerReferences"):
        assert after["metadata"].get(name) == before["metadata"].get(name)
    assert shop.deployment() is None, "and none of the pool's own is made"
    eventually(lambda: shop.status().get("replicas") == 0, "the status")
    shop.await_condition("Ready", "True", "Ready")

    shop.remove()
    assert target(shop)["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_target_that_does_not_exist_is_told_and_found_when_it_comes(
    shop: Shop, stage: RedisStage
) -> None:
    stage.client.rpush(shop.queue(), *JOBS)
    shop.add(targetRef=REF)
    shop.await_condition("Ready", "False", "TargetMissing")
    status = shop.status()
    assert (status["reason"], "replicas" in status) == ("TargetMissing", False)
    assert "create it, or name another one in spec.targetRef.name" in status["message"]
    shop.event("TargetMissing")

    legacy(shop)
    await_size(shop, 20)
    shop.await_condition("Ready", "False", "WorkersNotReady")


def test_a_target_that_an_autoscaler_scales_is_left_to_it(shop: Shop, stage: RedisStage) -> None:
    legacy(shop)
    path = autoscaler(shop)
    stage.client.rpush(shop.queue(), *JOBS)
    with shop.writes() as writes:
        shop.add(targetRef=REF)
        shop.await_condition("Ready", "False", "TargetConflict")
        event = shop.event("TargetConflict")
        assert "HorizontalPodAutoscaler cpu" in event["note"]
        assert "delete one of them" in event["note"]
        assert writes.of("legacy") == []

        assert shop.api.request("DELETE", path).code == 200
        await_size(shop, 20)


def test_an_autoscaler_that_comes_later_stops_the_scaling(shop: Shop, stage: RedisStage) -> None:
    legacy(shop)
    shop.add(targetRef=REF)
    await_size(shop, 0)
    autoscaler(shop)
    shop.await_condition("Ready", "False", "TargetConflict")
    stage.client.rpush(shop.queue(), *JOBS)
    eventually(lambda: shop.status().get("waiting") == 200, "the backlog, reported all the same")

    assert target(shop)["spec"]["replicas"] == 0


def test_an_autoscaler_of_another_deployment_is_none_of_its_business(shop: Shop) -> None:
    legacy(shop)
    autoscaler(shop, "other")
    shop.add(targetRef=REF)

    await_size(shop, 0)


def test_of_two_pools_for_one_deployment_the_older_one_scales_it(
    shop: Shop, stage: RedisStage
) -> None:
    legacy(shop)
    shop.add("a-second-name", targetRef=REF)
    await_size(shop, 0)
    born = eventually(lambda: shop.status("a-second-name"), "the first pool's status")
    assert born
    eventually(lambda: _second_has_passed(shop), "another second, which is what ages are told in")
    shop.add("a-first-name", targetRef=REF)
    shop.await_condition("Ready", "False", "TargetConflict", "a-first-name")
    assert "WorkerPool a-second-name scales" in shop.status("a-first-name")["message"]
    stage.client.rpush(shop.queue("a-second-name"), *JOBS)
    await_size(shop, 20)

    shop.remove("a-second-name")
    await_size(shop, 0)
    eventually(lambda: shop.condition("Ready", "a-first-name")[0] == "True", "the other's turn")


def _second_has_passed(shop: Shop) -> bool:
    """Write anything, to read the API server's clock."""
    path = f"/api/v1/namespaces/{shop.namespace}/configmaps?dryRun=All"
    now = shop.api.request("POST", path, {"metadata": {"generateName": "clock-"}}).body
    pool = shop.api.request(
        "GET",
        f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools/a-second-name",
    ).body
    stamp: str = now["metadata"]["creationTimestamp"]
    return stamp > str(pool["metadata"]["creationTimestamp"])


def test_a_deployment_of_another_pool_is_no_target(shop: Shop) -> None:
    shop.add("first")
    shop.await_replicas(0, "first")
    shop.add("second", targetRef={"name": "first-worker"})

    shop.await_condition("Ready", "False", "TargetConflict", "second")
    assert "has a controller already" in shop.status("second")["message"]


def test_what_runs_is_said_to_be_unknown_where_no_worker_reports(
    shop: Shop, stage: RedisStage
) -> None:
    legacy(shop)
    shop.add(targetRef=REF, minReplicas=2)
    shop.await_condition("InFlightKnown", "Unknown", "NoWorkers")
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/legacy/status"
    ready = {"status": {"readyReplicas": 2, "replicas": 2}}
    merge = "application/merge-patch+json"
    assert shop.api.request("PATCH", path, ready, content_type=merge).code == 200
    shop.await_condition("InFlightKnown", "False", "NoWorkerReports")

    stage.client.zadd(f"{{{shop.queue()}}}:workers", {"worker": 9e15})
    shop.await_condition("InFlightKnown", "True", "WorkersReport")


def test_a_size_changed_by_hand_is_corrected(shop: Shop) -> None:
    legacy(shop, replicas=0)
    shop.add(targetRef=REF)
    shop.await_condition("Ready", "True", "Ready")
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/legacy/scale"
    by_hand = {"spec": {"replicas": 7}}
    merge = "application/merge-patch+json"
    assert shop.api.request("PATCH", path, by_hand, content_type=merge).code == 200

    await_size(shop, 0)


@pytest.mark.parametrize("name", ["images-worker", "legacy-worker"])
def test_a_target_may_have_a_name_like_those_of_pools(
    shop: Shop, stage: RedisStage, name: str
) -> None:
    legacy_like = legacy(shop)
    body = {"metadata": {"name": name}, "spec": legacy_like["spec"]}
    shop.create_deployment(body)
    shop.add(targetRef={"name": name})
    stage.client.rpush(shop.queue(), *JOBS)
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/{name}"

    eventually(
        lambda: shop.api.request("GET", path).body["spec"]["replicas"] == 20, "the right size"
    )
    eventually(lambda: shop.status().get("replicas") == 20, "the status, sweeps notwithstanding")
