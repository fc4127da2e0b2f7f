"""Every mistake a schema can find is refused by the API server, by name and with the remedy."""

import json
from typing import Any, NamedTuple

import pytest

from support.api_server import ApiServer, Document
from support.pools import REMOVE, pool

POOLS = "/apis/workerpool.dev/v1alpha1/namespaces/default/workerpools"


class Mistake(NamedTuple):
    """A change that makes a valid pool invalid, and what the API server must say about it."""

    changes: dict[str, Any]
    field: str
    remedy: str


def one(path: str, value: object, remedy: str) -> Mistake:
    """Return a mistake in one field, complained about at that field."""
    return Mistake({path: value}, path, remedy)


OFFICE = {"cron": "0 8 * * MON-FRI", "durationMinutes": 600, "minReplicas": 2}


def schedule(field: str, value: object, remedy: str) -> Mistake:
    """Return a mistake in one field of a schedule."""
    entry = {k: v for k, v in (OFFICE | {field: value}).items() if v is not REMOVE}
    return Mistake({"spec.schedules": [entry]}, f"spec.schedules[0].{field}", remedy)


def sentinels(value: object, remedy: str) -> Mistake:
    """Return a mistake in the addresses of the Sentinels."""
    redis = {"url": "redis://mymaster/0", "sentinels": value}
    return Mistake({"spec.queue.redis": redis}, "spec.queue.redis.sentinels", remedy)


LIST = "spec.queue.list"
URL = "spec.queue.redis.url"
SECRET = "spec.queue.redis.secretRef"  # noqa: S105  a field
CPU = "spec.cpu"
SHARED = {"spec.cpu.policy": "Shared", "spec.cpu.request": "250m"}

MISTAKES = {
    # the resource
    "a name too long for the names made from it": Mistake(
        {"metadata.name": "a" * 53}, "metadata.name", "at most 52 characters"
    ),
    "no spec": one("spec", REMOVE, "Required value"),
    # somebody else's Deployment
    "a target without a name": one("spec.targetRef", {"kind": "Deployment"}, "Required value"),
    "a target in another namespace": Mistake(
        {"spec.targetRef": {"name": "shop/legacy"}},
        "spec.targetRef.name",
        "in the pool's own namespace",
    ),
    "a target that is no Deployment": Mistake(
        {"spec.targetRef": {"kind": "StatefulSet", "name": "legacy"}},
        "spec.targetRef.kind",
        'supported values: "Deployment"',
    ),
    "a template for a target": Mistake(
        {"spec.targetRef": {"name": "legacy"}, "spec.template": {"spec": {}}},
        "spec.template",
        "Change the Deployment itself",
    ),
    "cores for a target": Mistake(
        {"spec.targetRef": {"name": "legacy"}, "spec.cpu.cores": 2},
        "spec.cpu",
        "Set the resources in the Deployment itself",
    ),
    "a share of a core for a target": Mistake(
        {"spec.targetRef": {"name": "legacy"}, **SHARED},
        "spec.cpu",
        "Set the resources in the Deployment itself",
    ),
    "memory for a target": Mistake(
        {"spec.targetRef": {"name": "legacy"}, "spec.memory": "1Gi"},
        "spec.memory",
        "Set the resources in the Deployment itself",
    ),
    # the queue
    "no queue": one("spec.queue", REMOVE, "Required value"),
    "no list": one(LIST, REMOVE, "Required value"),
    "an empty list name": one(LIST, "", "at least 1 char"),
    "a list name of 513 characters": one(LIST, "q" * 513, "may not be more than 512"),
    "a list that is a number": one(LIST, 7, "must be of type string"),
    "a list name with a blank": one(LIST, "queue images", "must not contain white space"),
    "a list name with a line end": one(LIST, "queue:images\n", "must not contain white space"),
    "a list name with a NUL": one(
        LIST, "queue\0images", "must not contain white space or control"
    ),
    "a list name with a blank beyond ASCII": one(
        LIST, "queue\u00a0images", "exactly as the producer"
    ),
    "a list name with an invisible character": one(
        LIST, "queue\u200bimages", "control characters"
    ),
    "a list name with a closing brace alone": one(LIST, "queue}images", "a name without braces"),
    "an empty hash tag": one(LIST, "queue:{}:images", "exactly one non-empty tag"),
    "two hash tags": one(LIST, "{a}:{b}", "exactly one non-empty tag"),
    "nested braces": one(LIST, "{{a}}", "exactly one non-empty tag"),
    "braces the wrong way round": one(LIST, "}a{", "such as queue:{eu}:images"),
    # where it is
    "no Redis": one("spec.queue.redis", REMOVE, "Required value"),
    "no URL": one(URL, REMOVE, "Required value"),
    "an empty URL": one(URL, "", "at least 1 char"),
    "a URL without a scheme": one(URL, "redis.shop.svc:6379", "must start with redis://"),
    "a scheme that is not Redis": one(URL, "http://redis:6379", "must start with redis://"),
    "a unix socket": one(
        URL, "unix:///run/redis.sock", "for example redis://redis.shop.svc:6379/0"
    ),
    "a password in the URL": one(URL, "redis://:secret@redis:6379/0", "put them in a Secret"),
    "a delivery that does not exist": one(
        "spec.queue.delivery", "exactly-once", 'supported values: "at-least-once", "at-most-once"'
    ),
    "a user in the URL": one(URL, "redis://ann@redis", "spec.queue.redis.secretRef.name"),
    "no host": one(URL, "redis://:6379/0", "redis://host[:port][/db]"),
    "a port that is a word": one(URL, "redis://redis:port/0", "a port from 1 to 65535"),
    "a port beyond 65535": one(URL, "redis://redis:65536", "a port from 1 to 65535"),
    "port zero": one(URL, "redis://redis:0", "a port from 1 to 65535"),
    "a database that is a word": one(URL, "redis://redis:6379/jobs", "a database number"),
    "a query": one(URL, "redis://redis:6379?db=1", "no query"),
    "a path": one(URL, "redis://redis:6379/0/1", "no further path"),
    "a URL with a blank": one(URL, "redis://redis :6379", "nothing else"),
    "no Sentinel": sentinels([], "should have at least 1 items"),
    "more than 16 Sentinels": sentinels(["a"] * 17, "must have at most 16 items"),
    "Sentinels as one text": sentinels("a,b", "must be of type array"),
    "an empty Sentinel": sentinels([""], "at least 1 char"),
    "a Sentinel as a URL": sentinels(["redis://a:26379"], "no redis://"),
    "a Sentinel with a password": sentinels([":pw@a:26379"], "no credentials"),
    "two Sentinels in one": sentinels(["a:1,b:1"], "and nothing else"),
    "a Sentinel's port that is a word": sentinels(["a:b"], "a port from 1 to 65535"),
    "a Sentinel's port zero": sentinels(["a:0"], "a port from 1 to 65535"),
    "a Sentinel's port beyond 65535": sentinels(["a:65536"], "a port from 1 to 65535"),
    "an address for Sentinels that know a name": Mistake(
        {"spec.queue.redis": {"url": "redis://redis:6379/0", "sentinels": ["a"]}},
        URL,
        "the name that they know the master by",
    ),
    "a secretRef without a name": Mistake({SECRET: {}}, f"{SECRET}.name", "Required value"),
    "an empty Secret name": one(f"{SECRET}.name", "", "at least 1 char"),
    "a Secret of another namespace": one(
        f"{SECRET}.name", "shop/redis", "in the pool's own namespace"
    ),
    "a Secret name in capitals": one(f"{SECRET}.name", "Redis", "lower case letters"),
    # its size
    "fewer than zero replicas": one("spec.minReplicas", -1, "greater than or equal to 0"),
    "a minimum beyond 10000": Mistake(
        {"spec.minReplicas": 10001, "spec.maxReplicas": 10000},
        "spec.minReplicas",
        "less than or equal to 10000",
    ),
    "a minimum that is text": one("spec.minReplicas", "1", "must be of type integer"),
    "a minimum that is a fraction": one("spec.minReplicas", 0.5, "must be of type integer"),
    "a maximum of zero": one("spec.maxReplicas", 0, "greater than or equal to 1"),
    "a maximum beyond 10000": one("spec.maxReplicas", 10001, "less than or equal to 10000"),
    "a minimum above the maximum": Mistake(
        {"spec.minReplicas": 5, "spec.maxReplicas": 4},
        "spec.minReplicas",
        "lower minReplicas or raise maxReplicas",
    ),
    "a minimum above the default maximum": one("spec.minReplicas", 11, "10 if it is left out"),
    "an empty target": one("spec.target", {}, "write drainSeconds: 30 or backlogPerReplica: 10"),
    "a bound on the wait alone": one(
        "spec.target", {"maxWaitSeconds": 60}, "write drainSeconds: 30 or backlogPerReplica: 10"
    ),
    "two targets": one(
        "spec.target", {"backlogPerReplica": 10, "drainSeconds": 30}, "remove one of them"
    ),
    "a drain time of zero": one("spec.target.drainSeconds", 0, "greater than or equal to 1"),
    "a drain time beyond a day": one(
        "spec.target.drainSeconds", 86401, "less than or equal to 86400"
    ),
    "a longest wait of zero": Mistake(
        {"spec.target": {"drainSeconds": 30, "maxWaitSeconds": 0}},
        "spec.target.maxWaitSeconds",
        "greater than or equal to 1",
    ),
    "an assumed duration of zero": one("spec.job.assumedSeconds", 0, "greater than or equal to 1"),
    "a target of zero": one("spec.target.backlogPerReplica", 0, "greater than or equal to 1"),
    "a target beyond a million": one(
        "spec.target.backlogPerReplica", 1000001, "less than or equal to 1000000"
    ),
    "a negative window": one(
        "spec.scaleDown.stabilizationSeconds", -1, "greater than or equal to 0"
    ),
    "a window longer than a day": one(
        "spec.scaleDown.stabilizationSeconds", 86401, "less than or equal to 86400"
    ),
    "a window as a duration": one(
        "spec.scaleDown.stabilizationSeconds", "60s", "must be of type integer"
    ),
    # what stands around it
    "negative standby": one("spec.standbyReplicas", -1, "greater than or equal to 0"),
    "standby that leaves none for the work": one(
        "spec.standbyReplicas", 10, "or none is left for the work"
    ),
    "a limit of rate without a measure": one(
        "spec.scaleUp.limit",
        {"periodSeconds": 60},
        "for example {replicas: 10, periodSeconds: 60}",
    ),
    "a limit of rate with two measures": one(
        "spec.scaleDown.limit",
        {"replicas": 1, "percent": 1},
        "exactly one of replicas and percent",
    ),
    "growth by nothing": one("spec.scaleUp.limit.replicas", 0, "greater than or equal to 1"),
    "a growth beyond all bounds": one(
        "spec.scaleUp.limit.percent", 10001, "less than or equal to 10000"
    ),
    "shrinking by more than all": one(
        "spec.scaleDown.limit.percent", 101, "less than or equal to 100"
    ),
    "a period of no time": one(
        "spec.scaleUp.limit", {"replicas": 1, "periodSeconds": 0}, "greater than or equal to 1"
    )._replace(field="spec.scaleUp.limit.periodSeconds"),
    "a one-way pause in words": one("spec.scaleDown.disabled", "yes", "must be of type boolean"),
    "a schedule that is no list": one("spec.schedules", OFFICE, "must be of type array"),
    "21 schedules": one("spec.schedules", [OFFICE] * 21, "must have at most 20 items"),
    "a schedule without an end": schedule("durationMinutes", REMOVE, "Required value"),
    "a schedule without a size": schedule("minReplicas", REMOVE, "Required value"),
    "a schedule of no size": schedule("minReplicas", 0, "greater than or equal to 1"),
    "a schedule above the maximum": Mistake(
        {"spec.schedules": [OFFICE | {"minReplicas": 11}]}, "spec.schedules", "raise maxReplicas"
    ),
    "a schedule longer than a week": schedule(
        "durationMinutes", 10081, "less than or equal to 10080"
    ),
    "a schedule with seconds": schedule("cron", "0 0 8 * * *", "the five fields minute hour"),
    "a schedule by name": schedule("cron", "@midnight", "no @daily"),
    "a schedule without a day": schedule("cron", "0 8 * * ", "for example 0 8 * * MON-FRI"),
    "a time zone with a blank": schedule(
        "timeZone", "Europe/Ber lin", "for example Europe/Berlin"
    ),
    "a time zone that is a path": schedule("timeZone", "../zones", "IANA time zone database"),
    "an empty fallback": one("spec.fallback", {}, "Required value")._replace(
        field="spec.fallback.replicas"
    ),
    "a fallback to nothing": one("spec.fallback.replicas", 0, "greater than or equal to 1"),
    "a fallback above the maximum": one("spec.fallback.replicas", 11, "raise maxReplicas"),
    "a fallback after no time": Mistake(
        {"spec.fallback": {"replicas": 1, "afterSeconds": 0}},
        "spec.fallback.afterSeconds",
        "greater than or equal to 1",
    ),
    "a dry run in words": one("spec.dryRun", "yes", "must be of type boolean"),
    # what a worker gets
    "an unknown CPU policy": one(f"{CPU}.policy", "Pinned", '"Exclusive", "Shared"'),
    "no cores": one(f"{CPU}.cores", 0, "greater than or equal to 1"),
    "more cores than machines have": one(f"{CPU}.cores", 257, "less than or equal to 256"),
    "a fraction of an exclusive core": one(f"{CPU}.cores", 1.5, "must be of type integer"),
    "a request with Exclusive": one(f"{CPU}.request", "250m", "remove it and set spec.cpu.cores"),
    "cores with Shared": Mistake(
        SHARED | {f"{CPU}.cores": 1}, f"{CPU}.cores", "remove it and set spec.cpu.request"
    ),
    "hardware threads with Shared": Mistake(
        SHARED | {f"{CPU}.threadsPerCore": 2}, f"{CPU}.threadsPerCore", "remove it"
    ),
    "half a physical core": Mistake(
        {f"{CPU}.threadsPerCore": 2}, f"{CPU}.cores", "with threadsPerCore 2 write cores: 2, 4, 6"
    ),
    "a core and a half": Mistake(
        {f"{CPU}.threadsPerCore": 2, f"{CPU}.cores": 3}, f"{CPU}.cores", "must be a multiple"
    ),
    "Shared without a request": Mistake({CPU: {"policy": "Shared"}}, CPU, "for example 250m"),
    "a request that is no quantity": Mistake(
        SHARED | {f"{CPU}.request": "a quarter"}, f"{CPU}.request", "for example 250m, 0.5 or 2"
    ),
    "a request of nothing": Mistake(
        SHARED | {f"{CPU}.request": "0"}, f"{CPU}.request", "a positive number of cores"
    ),
    "a request in memory's units": Mistake(
        SHARED | {f"{CPU}.request": "250Mi"}, f"{CPU}.request", "for example 250m, 0.5 or 2"
    ),
    "a request finer than a thousandth": Mistake(
        SHARED | {f"{CPU}.request": "0.0001"}, f"{CPU}.request", "at its finest in thousandths"
    ),
    "memory that is no quantity": one("spec.memory", "much", "for example 512Mi or 1Gi"),
    "memory without a unit": one("spec.memory", "512", "512 would be 512 bytes"),
    "memory in thousandths of a byte": one("spec.memory", "512m", "half a byte"),
    "memory as a number": one("spec.memory", 536870912, "must be of type string"),
    "less memory than a process needs": one("spec.memory", "15Mi", "at least 16Mi"),
    # its jobs
    "a job of no time": one("spec.job.timeoutSeconds", 0, "greater than or equal to 1"),
    "a job longer than a day": one(
        "spec.job.timeoutSeconds", 86401, "less than or equal to 86400"
    ),
    "no attempt": one("spec.job.maxAttempts", 0, "greater than or equal to 1"),
    "more than 100 attempts": one("spec.job.maxAttempts", 101, "less than or equal to 100"),
    # the rest
    "a template that is a list": one("spec.template", [], "must be of type object"),
    "a label that is a number": one(
        "spec.template.metadata.labels", {"tier": 1}, "must be of type string"
    ),
    "paused in words": one("spec.paused", "yes", "must be of type boolean"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_refused_with_its_field_and_its_remedy(
    api: ApiServer, mistake: Mistake
) -> None:
    answer = api.request("POST", f"{POOLS}?dryRun=All", pool(mistake.changes))

    assert answer.code == 422, answer.body
    complaints = causes(answer.body)
    assert any(mistake.remedy in complaint["message"] for complaint in complaints), complaints
    # A complaint about another field would send the reader to one that is right.
    assert all(
        mistake.field in complaint["field"] + complaint["message"] for complaint in complaints
    )


def test_all_mistakes_of_a_resource_are_told_together(api: ApiServer) -> None:
    changes = {"spec.minReplicas": 11, "spec.memory": "512m", URL: "redis://:secret@redis"}

    answer = api.request("POST", f"{POOLS}?dryRun=All", pool(changes))

    assert {cause["field"] for cause in causes(answer.body)} == changes.keys()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spec.minReplica": 1}, "spec.minReplica"),
        ({"spec.queue.name": "queue:images"}, "spec.queue.name"),
        ({"spec.target.backlog": 10, "spec.target.backlogPerReplica": 10}, "spec.target.backlog"),
        ({"spec.template.containers": []}, "spec.template.containers"),
        ({"spec.template.metadata.name": "worker"}, "spec.template.metadata.name"),
    ],
)
def test_a_field_that_does_not_exist_is_refused_by_kubectl(
    api: ApiServer, namespace: str, changes: dict[str, object], field: str
) -> None:
    done = api.kubectl(
        *("apply", "--validate=strict", "--namespace", namespace, "-f", "-"),
        stdin=json.dumps(pool(changes)),
        check=False,
    )

    assert done.returncode != 0
    assert f'unknown field "{field}"' in done.stderr


def causes(status: Document) -> list[dict[str, str]]:
    """Return the complaints, without the server's remark that it skipped rules for now."""
    return [
        cause
        for cause in status["details"]["causes"]
        if "some validation rules were not checked" not in cause["message"]
    ]


def test_a_pool_cannot_change_between_a_deployment_of_its_own_and_anothers(
    api: ApiServer, namespace: str
) -> None:
    path = POOLS.replace("default", namespace)
    assert api.request("POST", path, pool()).code == 201
    change = {"spec": {"targetRef": {"name": "legacy"}}}
    merge = "application/merge-patch+json"

    answer = api.request("PATCH", f"{path}/images", change, content_type=merge)

    assert answer.code == 422
    assert "spec.targetRef cannot be added to a pool or taken away" in answer.message
