"""What stands around the demand, end to end: real API server, real Redis, the operator itself."""

import time
from collections.abc import Iterator

import pytest

from support.operator_process import OperatorProcess
from support.redis_stage import RedisStage, redis_stage
from support.shop import Shop
from support.waiting import eventually

JOBS = [b"{}"] * 200


def test_standby_comes_with_the_work_and_goes_with_it(shop: Shop, stage: RedisStage) -> None:
    shop.add(standbyReplicas=3, scaleDown={"stabilizationSeconds": 0})
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(23)
    shop.await_reason("Standby")

    stage.client.delete(shop.queue())
    shop.await_replicas(0)


def test_a_limit_of_rate_makes_steps_of_one_jump(shop: Shop, stage: RedisStage) -> None:
    shop.add(scaleUp={"limit": {"replicas": 8, "periodSeconds": 1800}})
    shop.await_rest()
    with shop.writes() as writes:
        stage.client.rpush(shop.queue(), *JOBS)
        shop.await_condition("ScalingLimited", "True", "ScaleUpLimited")
        shop.edit(scaleUp={"limit": {"replicas": 8, "periodSeconds": 1}})
        shop.await_replicas(20)

    assert writes.counts() == [8, 16, 20]


def test_a_pool_that_must_not_shrink_grows_and_stays(shop: Shop, stage: RedisStage) -> None:
    shop.add(scaleDown={"disabled": True, "stabilizationSeconds": 0})
    stage.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    with shop.writes() as writes:
        stage.client.delete(shop.queue())
        shop.await_reason("ScaleDownDisabled")

    assert writes.counts() == []
    shop.edit(scaleDown={"disabled": False})
    shop.await_replicas(0)


def test_a_schedule_in_force_lifts_an_idle_pool(shop: Shop) -> None:
    always = {"cron": "* * * * *", "durationMinutes": 5, "minReplicas": 4}
    shop.add(schedules=[always | {"timeZone": "Asia/Kathmandu"}])

    shop.await_replicas(4)
    shop.await_reason("Schedule")
    shop.edit(schedules=[])
    shop.await_replicas(0)


def test_a_schedule_nobody_can_read_is_told_and_harms_no_other_pool(
    shop: Shop, stage: RedisStage
) -> None:
    wrong = {"cron": "0 8 * * *", "durationMinutes": 5, "minReplicas": 4}
    shop.add("broken", schedules=[wrong | {"timeZone": "Europe/Berln"}])
    shop.add("fine")
    stage.client.rpush(shop.queue("fine"), *JOBS)

    shop.await_condition("Ready", "False", "InvalidSpec", "broken")
    assert "must be an IANA time zone" in shop.status("broken")["message"]
    shop.await_replicas(20, "fine")


# --- dry run


def test_a_dry_run_tells_everything_and_writes_nothing(shop: Shop, stage: RedisStage) -> None:
    with shop.writes() as writes:
        shop.add(dryRun=True)
        shop.await_condition("Ready", "True", "DryRun")
        stage.client.rpush(shop.queue(), *JOBS)
        eventually(lambda: shop.status().get("desiredReplicas") == 20, "what it would do")
        stage.client.delete(shop.queue())
        eventually(lambda: shop.status().get("desiredReplicas") == 0, "the way back")

    assert writes.of() == []
    assert shop.deployment() is None
    events = eventually(lambda: (found := shop.events())[1:] and found, "the second Event")
    notes = [event["note"].partition(":")[0] for event in events]
    assert notes == ["Would scale from 0 to 20", "Would scale from 20 to 0"]
    status = shop.status()
    assert [(c["from"], c["to"]) for c in status["history"]] == [(20, 0), (0, 20)]
    described = shop.api.kubectl("describe", "wp", "images", "--namespace", shop.namespace).stdout
    assert "dry run: 200 waiting at 10 per replica" in described.partition("History:")[2]
    assert status["message"].startswith("dry run: ")
    assert "lastScaleTime" not in status


def test_a_dry_run_can_begin_and_end_at_any_time(shop: Shop, stage: RedisStage) -> None:
    shop.add()
    stage.client.rpush(shop.queue(), *JOBS[:50])
    shop.await_replicas(5)
    shop.edit(dryRun=True)
    shop.await_condition("Ready", "True", "DryRun")
    with shop.writes() as writes:
        stage.client.rpush(shop.queue(), *JOBS)
        eventually(lambda: shop.status().get("desiredReplicas") == 25, "what it would do")
        shop.edit(template={"spec": {"nodeSelector": {"disk": "fast"}}})
        eventually(lambda: shop.status().get("observedGeneration") == 3, "the new template")
    assert writes.of() == []

    shop.edit(dryRun=False)
    shop.await_replicas(25)
    eventually(lambda: len(shop.status()["history"]) == 3, "the last change")
    pretended = [c["message"].startswith("dry run: ") for c in shop.status()["history"]]
    assert pretended == [False, True, False]
    eventually(lambda: shop.pod().get("nodeSelector") == {"disk": "fast"}, "the node selector")


# --- a Redis that fails


@pytest.fixture
def own_redis() -> Iterator[RedisStage]:
    with redis_stage() as stage:
        yield stage


def test_a_redis_that_is_gone_for_long_calls_for_the_fallback(
    shop: Shop, own_redis: RedisStage
) -> None:
    shop.redis_url = own_redis.server.url
    shop.add(fallback={"replicas": 6, "afterSeconds": 2})
    own_redis.client.rpush(shop.queue(), *JOBS[:20])
    shop.await_replicas(2)
    with shop.writes() as writes:
        lost = time.monotonic()
        own_redis.server.kill()
        shop.await_replicas(6)
        assert time.monotonic() - lost > 1.9
        shop.await_reason("Fallback")

    assert writes.counts() == [6]


def test_jobs_that_vanish_with_their_redis_are_no_idle_queue(
    shop: Shop, own_redis: RedisStage
) -> None:
    """Without persistence a restart leaves an empty list, which looks like work well done."""
    shop.redis_url = own_redis.server.url
    shop.add(scaleDown={"stabilizationSeconds": 0})
    own_redis.client.rpush(shop.queue(), *JOBS)
    shop.await_replicas(20)
    with shop.writes() as writes:
        own_redis.server.kill()
        own_redis.server.start()
        shop.await_condition("DataLost", "True", "DataLost")
        shop.await_reason("DataLost")
        assert shop.status()["waiting"] == 0

    assert writes.of() == []
    event = shop.event("DataLost")
    assert event["type"] == "Warning"
    assert "without 200 jobs" in event["note"]
    assert "appendonly yes" in event["note"]
    own_redis.client.rpush(shop.queue(), *JOBS, *JOBS)
    shop.await_replicas(40)


def test_a_restart_that_keeps_its_jobs_is_no_loss(shop: Shop) -> None:
    with redis_stage(appendonly="yes", appendfsync="always") as kept:
        shop.redis_url = kept.server.url
        shop.add(scaleDown={"stabilizationSeconds": 0})
        kept.client.rpush(shop.queue(), *JOBS)
        shop.await_replicas(20)
        kept.server.kill()
        kept.server.start()
        kept.client.rpush(shop.queue(), *JOBS)
        shop.await_replicas(40)

        assert shop.condition("DataLost") == ("False", "NoLossSeen")
        assert shop.events("DataLost") == []


# --- what a person reads


def test_describe_shows_the_last_ten_changes_the_newest_first(
    shop: Shop, stage: RedisStage
) -> None:
    shop.add(target={"backlogPerReplica": 1}, scaleDown={"stabilizationSeconds": 3600})
    for count in range(1, 13):
        stage.client.rpush(shop.queue(), b"{}")
        shop.await_replicas(count)

    eventually(
        lambda: [c["to"] for c in (shop.status().get("history") or ())[:1]] == [12],
        "the last change",
    )

    history = shop.status()["history"]
    assert [(c["from"], c["to"]) for c in history] == [(n - 1, n) for n in range(12, 2, -1)]
    assert history[0]["message"] == "12 waiting at 1 per replica ask for 12: 12 replicas"
    described = shop.api.kubectl("describe", "wp", "images", "--namespace", shop.namespace).stdout
    assert described.index("12 waiting at 1 per replica") < described.index("5 waiting at 1")


def test_what_a_pool_uses_and_how_long_its_jobs_wait_are_metrics(
    shop: Shop, stage: RedisStage, operator: OperatorProcess
) -> None:
    def figure(name: str) -> float:
        labels = f'{{namespace="{shop.namespace}",pool="images"}}'
        return operator.metrics().get(f"workerpool_{name}{labels}", -1.0)

    shop.add(cpu={"policy": "Exclusive", "cores": 2})
    shop.await_rest()
    assert figure("worker_seconds_total") == figure("core_seconds_total") == 0
    assert figure("oldest_wait_seconds") == 0
    stage.client.rpush(shop.queue(), *JOBS[:20])
    shop.await_replicas(2)

    eventually(lambda: figure("oldest_wait_seconds") > 0.5, "a wait")
    eventually(lambda: figure("worker_seconds_total") > 4, "work")  # two pods of two workers
    assert figure("cost_total") == -1.0, "nobody said a price"
