"""WorkerPool documents ↔ frozen records."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from support.pools import REMOVE
from support.workerpools import stored
from workerpool_operator.errors import InvalidResource
from workerpool_operator.model import Fallback, Policy, RateLimit, Schedule
from workerpool_operator.resource import (
    Condition,
    Cpu,
    Endpoint,
    Job,
    Key,
    Pool,
    merge_conditions,
    parse,
    timestamp,
)

NOW = datetime(2026, 3, 1, 12, 0, 30, 999_999, tzinfo=UTC)


def behind(*sentinels: object) -> dict[str, object]:
    """Return a Redis behind Sentinels."""
    return {"url": "redis://mymaster/0", "sentinels": list(sentinels)}


def test_a_pool_with_nothing_but_defaults() -> None:
    assert parse(stored()) == Pool(
        key=Key("shop", "images"),
        uid="uid-of-images",
        generation=1,
        policy=Policy(0, 10, 10, 1, timedelta(seconds=60), paused=False),
        queue="queue:images",
        endpoint=Endpoint("redis://redis.shop.svc:6379/0"),
        redis_url="redis://redis:6379/0",
        cpu=Cpu(cores=1, request=None),
        memory="512Mi",
        job=Job(timedelta(seconds=120), 5),
        template={},
    )


def test_a_pool_with_everything_written_out() -> None:
    pool = parse(
        stored(
            {
                "spec.queue.redis.url": "rediss://cache.example.com:6380/3",
                "spec.queue.redis.secretRef": {"name": "redis"},
                "spec.minReplicas": 2,
                "spec.maxReplicas": 40,
                "spec.target": {"backlogPerReplica": 7},
                "spec.scaleDown.stabilizationSeconds": 0,
                "spec.cpu": {"policy": "Exclusive", "cores": 4, "threadsPerCore": 2},
                "spec.memory": "2Gi",
                "spec.job": {"timeoutSeconds": 9, "maxAttempts": 1},
                "spec.paused": True,
                "spec.template": {"spec": {"containers": [{"name": "worker", "image": "i"}]}},
            }
        )
    )

    assert pool.policy == Policy(2, 40, 7, 2, timedelta(0), paused=True)
    assert pool.endpoint == Endpoint("rediss://cache.example.com:6380/3", Key("shop", "redis"))
    assert pool.endpoint.tls
    assert pool.cpu == Cpu(4, None, threads_per_core=2)
    assert (pool.memory, pool.job) == ("2Gi", Job(timedelta(seconds=9), 1))
    assert pool.template["spec"]["containers"][0]["image"] == "i"


def test_what_stands_around_the_target_is_read() -> None:
    office = {"cron": "0 8 * * MON-FRI", "durationMinutes": 600, "minReplicas": 5}
    pool = parse(
        stored(
            {
                "spec.standbyReplicas": 2,
                "spec.scaleUp": {"limit": {"replicas": 3, "periodSeconds": 30}},
                "spec.scaleDown": {
                    "stabilizationSeconds": 60,
                    "disabled": True,
                    "limit": {"percent": 10},
                },
                "spec.schedules": [office | {"timeZone": "Europe/Berlin"}, office],
                "spec.fallback": {"replicas": 4},
                "spec.dryRun": True,
            }
        )
    )

    ten_hours = timedelta(hours=10)
    assert pool.policy == Policy(
        standby=2,
        up_limit=RateLimit(timedelta(seconds=30), replicas=3),
        down_limit=RateLimit(timedelta(seconds=60), percent=10),
        only_up=True,
        schedules=(
            Schedule("0 8 * * MON-FRI", ZoneInfo("Europe/Berlin"), ten_hours, 5),
            Schedule("0 8 * * MON-FRI", ZoneInfo("UTC"), ten_hours, 5),
        ),
        fallback=Fallback(4, timedelta(seconds=300)),
    )
    assert pool.dry_run


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.schedules", "daily", "spec.schedules must be a list"),
        ("spec.schedules", [{"cron": "0 8 * *"}], "spec.schedules[0].cron must be a cron exp"),
        ("spec.schedules", [{"cron": "61 8 * * *"}], "Bad minute"),
        (
            "spec.schedules",
            [{"cron": "0 8 * * *", "timeZone": "Europe/Berln"}],
            "spec.schedules[0].timeZone must be an IANA time zone such as Europe/Berlin",
        ),
        (
            "spec.schedules",
            [{"cron": "0 8 * * *", "timeZone": "Europe"}],
            "spec.schedules[0].timeZone must be an IANA",
        ),
        (
            "spec.schedules",
            [{"cron": "0 8 * * *", "timeZone": "../zones"}],
            "spec.schedules[0].timeZone must be an IANA",
        ),
        ("spec.schedules", [{"cron": "0 8 * * *"}], "spec.schedules[0].durationMinutes is miss"),
        ("spec.scaleUp", {"limit": {}}, "spec.scaleUp.limit must be one of replicas and percent"),
        (
            "spec.scaleDown.limit",
            {"replicas": 1, "percent": 1},
            "spec.scaleDown.limit must be one of",
        ),
        ("spec.scaleDown.disabled", "no", "spec.scaleDown.disabled must be true or false"),
        ("spec.fallback", {}, "spec.fallback.replicas is missing"),
        ("spec.dryRun", 1, "spec.dryRun must be true or false"),
    ],
)
def test_what_the_api_server_cannot_know_is_wrong_is_named(
    path: str, value: object, words: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse(stored({path: value}))

    assert words in str(caught.value)


def test_shared_cpu_counts_one_worker_a_pod() -> None:
    pool = parse(stored({"spec.cpu": {"policy": "Shared", "request": "250m"}}))

    assert (pool.cpu, pool.cpu.policy) == (Cpu(None, "250m"), "Shared")
    assert pool.policy.workers_per_replica == 1


@pytest.mark.parametrize(
    "field", ["target", "paused", "template", "queue.redis.secretRef", "queue.redis.sentinels"]
)
def test_a_null_is_as_good_as_left_out(field: str) -> None:
    assert parse(stored({f"spec.{field}": None})) == parse(stored())


@pytest.mark.parametrize(
    ("written", "read_at"),
    [
        ("redis://redis", "redis://redis.shop.svc"),
        ("redis://redis:6379", "redis://redis.shop.svc:6379"),
        ("redis://redis:6379/0", "redis://redis.shop.svc:6379/0"),
        ("redis://redis/5", "redis://redis.shop.svc/5"),
        ("rediss://my-redis_1:1/2", "rediss://my-redis_1.shop.svc:1/2"),
        ("redis://redis.shop", "redis://redis.shop"),
        ("redis://redis.shop.svc:6379/0", "redis://redis.shop.svc:6379/0"),
        ("redis://cache.example.com/1", "redis://cache.example.com/1"),
        ("redis://10.0.0.7:6379/0", "redis://10.0.0.7:6379/0"),
        ("redis://[2001:db8::1]:6379/0", "redis://[2001:db8::1]:6379/0"),
        ("redis://[::1]", "redis://[::1]"),
        ("redis://localhost:6379", "redis://localhost:6379"),
    ],
)
def test_a_bare_host_name_means_the_pools_namespace(written: str, read_at: str) -> None:
    pool = parse(stored({"spec.queue.redis.url": written}))

    assert pool.endpoint.url == read_at
    assert pool.redis_url == written, "worker pods resolve the name as it was written"


def test_sentinels_know_the_master_by_the_urls_host_and_have_hosts_of_their_own() -> None:
    addresses = ["sentinel-0", "10.0.0.7:5000", "[::1]:26380", "s.example.com"]
    pool = parse(
        stored(
            {
                "spec.queue.redis.url": "rediss://MyMaster/3",
                "spec.queue.redis.sentinels": addresses,
            }
        )
    )

    assert pool.endpoint == Endpoint(
        "rediss://MyMaster/3",
        sentinels=(
            ("sentinel-0.shop.svc", 26379),
            ("10.0.0.7", 5000),
            ("::1", 26380),
            ("s.example.com", 26379),
        ),
    )
    assert pool.endpoint.master == "MyMaster"
    assert hash(pool.endpoint), "pools that share it share a connection"
    assert pool.redis_sentinels == tuple(addresses), "worker pods resolve them as written"


def test_pools_of_one_redis_in_one_namespace_have_one_endpoint() -> None:
    first = parse(stored(name="one"))
    second = parse(stored({"spec.queue.list": "other"}, name="two"))
    elsewhere = parse(stored({"metadata.namespace": "studio"}))

    assert first.endpoint == second.endpoint
    assert elsewhere.endpoint != first.endpoint, "another namespace's `redis` is another Redis"


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.queue",
        "spec.queue.list",
        "spec.queue.redis",
        "spec.queue.redis.url",
        "spec.minReplicas",
        "spec.maxReplicas",
        "spec.scaleDown",
        "spec.scaleDown.stabilizationSeconds",
        "spec.cpu",
        "spec.cpu.policy",
        "spec.memory",
        "spec.job",
        "spec.job.timeoutSeconds",
        "spec.job.maxAttempts",
    ],
)
@pytest.mark.parametrize("value", [REMOVE, None, [], {}, "", -1, 2.5, True])
def test_a_missing_or_wrong_field_is_named(path: str, value: object) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse(stored({path: value}))

    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("spec.target", {}, "spec.target.backlogPerReplica is missing"),
        ("spec.target", {"backlogPerReplica": "ten"}, "spec.target.backlogPerReplica must be"),
        ("spec.cpu", {"policy": "Shared"}, "spec.cpu.request is missing"),
        ("spec.cpu", {"policy": "Exclusive", "cores": "two"}, "spec.cpu.cores must be"),
        ("spec.queue.redis.secretRef", {}, "spec.queue.redis.secretRef.name is missing"),
        ("spec.queue.redis.url", "http://redis", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.url", "redis://", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.url", "redis://redis:port", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.url", "redis://redis:99999", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.url", "redis://redis/zero", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.url", "redis://[::1", "spec.queue.redis.url must be redis://"),
        ("spec.queue.redis.sentinels", "a:1", "spec.queue.redis.sentinels must be a list"),
        ("spec.queue.redis", behind(26379), "spec.queue.redis.sentinels[0] must be a string"),
        ("spec.queue.redis", behind("a", "b:c"), "spec.queue.redis.sentinels[1] must be host"),
        ("spec.queue.redis", behind("a:99999"), "spec.queue.redis.sentinels[0] must be host"),
        ("spec.queue.redis", behind("redis://a"), "spec.queue.redis.sentinels[0] must be host"),
        ("spec.queue.redis", behind(":1"), "spec.queue.redis.sentinels[0] must be host"),
        ("spec.queue.redis.sentinels", ["a"], "spec.queue.redis.url must be redis://NAME"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(path: str, value: Any, named: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidResource) as caught:
        parse(stored({path: value}))

    assert str(caught.value).startswith(named)


TEMPLATES = """
- [spec.template,                                      "text"]
- [spec.template.metadata,                             {metadata: []}]
- [spec.template.metadata.labels,                      {metadata: {labels: [a]}}]
- [spec.template.spec,                                 {spec: []}]
- [spec.template.spec.terminationGracePeriodSeconds,   {spec: {terminationGracePeriodSeconds: long}}]
- [spec.template.spec.volumes,                         {spec: {volumes: text}}]
- ["spec.template.spec.volumes[0]",                    {spec: {volumes: [text]}}]
- ["spec.template.spec.volumes[1].name",               {spec: {volumes: [{name: a}, {emptyDir: {}}]}}]
- [spec.template.spec.initContainers,                  {spec: {initContainers: {name: migrate}}}]
- ["spec.template.spec.initContainers[0]",             {spec: {initContainers: [migrate]}}]
- [spec.template.spec.affinity,                        {spec: {affinity: [nodeAffinity]}}]
- [spec.template.spec.containers,                      {spec: {containers: {name: worker}}}]
- ["spec.template.spec.containers[0]",                 {spec: {containers: [worker]}}]
- ["spec.template.spec.containers[0].name",            {spec: {containers: [{image: i}]}}]
- ["spec.template.spec.containers[0].env",             {spec: {containers: [{name: worker, env: {A: b}}]}}]
- ["spec.template.spec.containers[0].env[0].name",     {spec: {containers: [{name: worker, env: [{A: b}]}]}}]
- ["spec.template.spec.containers[0].volumeMounts[0].mountPath",
                                                       {spec: {containers: [{name: worker, volumeMounts: [{name: a}]}]}}]
"""  # noqa: E501  a table


@pytest.mark.parametrize(("path", "template"), yaml.safe_load(TEMPLATES))
def test_a_template_that_cannot_be_merged_is_refused(path: str, template: object) -> None:
    """The CRD lets anything in there, and a surprise later would be everybody's."""
    with pytest.raises(InvalidResource) as caught:
        parse(stored({"spec.template": template}))

    assert str(caught.value).startswith(path)


def test_a_transition_time_moves_with_the_status_alone() -> None:
    old = merge_conditions((), [Condition("Ready", "True", "Ready", "fine")], 1, NOW)
    later = NOW + timedelta(minutes=5)

    same = merge_conditions(old, [Condition("Ready", "True", "Other", "still fine")], 2, later)
    other = merge_conditions(same, [Condition("Ready", "False", "Broken", "not fine")], 3, later)

    assert old == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Ready",
            "message": "fine",
            "lastTransitionTime": "2026-03-01T12:00:30Z",
            "observedGeneration": 1,
        }
    ]
    assert same[0]["lastTransitionTime"] == old[0]["lastTransitionTime"]
    assert (same[0]["reason"], same[0]["message"]) == ("Other", "still fine")
    assert same[0]["observedGeneration"] == 2
    assert other[0]["lastTransitionTime"] == timestamp(later)


def test_a_new_condition_begins_now() -> None:
    old = merge_conditions((), [Condition("Ready", "True", "Ready", "")], 1, NOW)
    later = NOW + timedelta(minutes=5)
    both = [Condition("Ready", "True", "Ready", ""), Condition("Other", "True", "Other", "")]

    merged = merge_conditions(old, both, 1, later)

    assert [c["lastTransitionTime"] for c in merged] == [timestamp(NOW), timestamp(later)]
