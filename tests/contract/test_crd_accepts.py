"""What a valid WorkerPool becomes: its defaults, what is kept of it, and how kubectl shows it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api_server import ApiServer, Document
from support.pools import REMOVE, pool
from workerpool_operator.model import Reason
from workerpool_simulator.manifest import complete

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "manifests" / "crd.yaml").read_text())
[VERSION] = CRD["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def pools(namespace: str) -> str:
    return f"/apis/workerpool.dev/v1alpha1/namespaces/{namespace}/workerpools"


def create(api: ApiServer, namespace: str, changes: dict[str, object] | None = None) -> Document:
    answer = api.request("POST", pools(namespace), pool(changes))
    assert answer.code == 201, answer.message
    return answer.body


def apply(api: ApiServer, namespace: str, changes: dict[str, object]) -> Document:
    api.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(pool(changes)))
    return api.request("GET", f"{pools(namespace)}/images").body


def test_the_smallest_pool_is_completed_with_every_stored_default(
    api: ApiServer, namespace: str
) -> None:
    assert create(api, namespace)["spec"] == {
        "queue": {
            "list": "queue:images",
            "delivery": "at-least-once",
            "redis": {"url": "redis://redis:6379/0"},
        },
        "minReplicas": 0,
        "maxReplicas": 10,
        "standbyReplicas": 0,
        "scaleDown": {"stabilizationSeconds": 60, "disabled": False},
        "cpu": {"policy": "Exclusive"},
        "memory": "512Mi",
        "job": {"timeoutSeconds": 120, "maxAttempts": 5},
        "paused": False,
        "dryRun": False,
    }


def test_a_half_written_object_gets_the_defaults_of_its_other_fields(
    api: ApiServer, namespace: str
) -> None:
    changes: dict[str, object] = {"spec.job.maxAttempts": 1, "spec.cpu.cores": 2}

    spec = create(api, namespace, changes)["spec"]

    assert spec["job"] == {"timeoutSeconds": 120, "maxAttempts": 1}
    assert spec["cpu"] == {"policy": "Exclusive", "cores": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spec.cpu.cores": 2},
        {"spec.cpu": None, "spec.job": {"maxAttempts": None}, "spec.scaleUp": None},
        {"spec.scaleUp.limit.percent": 50, "spec.scaleDown.limit.replicas": 1},
        {"spec.fallback.replicas": 3, "spec.target.drainSeconds": 30},
        {"spec.schedules": [{"cron": "0 8 * * *", "durationMinutes": 1, "minReplicas": 1}]},
        {"spec.targetRef.name": "legacy"},
        {"spec.template": {"spec": {"hostname": None, "volumes": [{}]}}},
    ],
)
def test_the_simulator_completes_a_pool_as_the_api_server_does(
    api: ApiServer, namespace: str, changes: dict[str, object]
) -> None:
    assert complete(pool(changes)["spec"]) == create(api, namespace, changes)["spec"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "a" * 52),
        ("spec.queue.list", "q" * 512),
        ("spec.queue.list", "queue:{eu}:images"),
        ("spec.queue.delivery", "at-most-once"),
        ("spec.queue.list", "{eu}"),
        ("spec.queue.list", "queue{images"),
        ("spec.queue.list", "bücher/größe"),
        ("spec.queue.redis.url", "redis://redis"),
        ("spec.queue.redis.url", "redis://redis/15"),
        ("spec.queue.redis.url", "redis://my_redis.shop.svc.cluster.local:65535/0"),
        ("spec.queue.redis.url", "rediss://10.1.2.3:6380"),
        ("spec.queue.redis.url", "rediss://[2001:db8::1]:6379/0"),
        ("spec.queue.redis.secretRef", {"name": "redis.credentials-1"}),
        ("spec.queue.redis", {"url": "redis://mymaster/0", "sentinels": ["sentinel"]}),
        (
            "spec.queue.redis",
            {
                "url": "rediss://My_Master.1",
                "sentinels": [
                    "10.0.0.7:1",
                    "[::1]:65535",
                    "[::1]",
                    *(f"s-{n}" for n in range(13)),
                ],
            },
        ),
        ("spec.minReplicas", 10),
        ("spec.maxReplicas", 10000),
        ("spec.target", {"backlogPerReplica": 1000000}),
        ("spec.target", {"drainSeconds": 30, "maxWaitSeconds": 60}),
        ("spec.job", {"assumedSeconds": 5}),
        ("spec.scaleDown.stabilizationSeconds", 0),
        ("spec.scaleDown.stabilizationSeconds", 86400),
        ("spec.cpu", {"policy": "Shared", "request": "1m"}),
        ("spec.cpu", {"policy": "Shared", "request": "0.125"}),
        ("spec.cpu", {"policy": "Shared", "request": "300"}),
        ("spec.cpu", {"cores": 256}),
        ("spec.cpu", {"cores": 4, "threadsPerCore": 2}),
        ("spec.memory", "16Mi"),
        ("spec.memory", "1.5Gi"),
        ("spec.memory", "2e9"),
        ("spec.job", {"timeoutSeconds": 86400, "maxAttempts": 100}),
        ("spec.paused", True),
        ("spec.dryRun", True),
        ("spec.standbyReplicas", 9),
        ("spec.scaleUp", {"limit": {"replicas": 10000, "periodSeconds": 86400}}),
        ("spec.scaleUp", {"limit": {"percent": 10000}}),
        ("spec.scaleDown", {"disabled": True, "limit": {"percent": 100, "periodSeconds": 1}}),
        ("spec.schedules", []),
        ("spec.schedules", [{"cron": "0 8 * * *", "durationMinutes": 10080, "minReplicas": 10}]),
        (
            "spec.schedules",
            [
                {
                    "cron": "*/5  0-6,22 1,L JAN-mar MON#1",
                    "timeZone": "America/Argentina/Buenos_Aires",
                    "durationMinutes": 1,
                    "minReplicas": 1,
                }
            ],
        ),
        ("spec.fallback", {"replicas": 10, "afterSeconds": 86400}),
    ],
)
def test_the_edges_of_what_is_allowed_are_accepted(
    api: ApiServer, path: str, value: object
) -> None:
    answer = api.request("POST", f"{pools('default')}?dryRun=All", pool({path: value}))

    assert answer.code == 201, answer.message


def test_a_pod_template_is_kept_as_it_was_written(api: ApiServer, namespace: str) -> None:
    template = {
        "metadata": {"labels": {"tier": "batch"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "worker", "fieldOfAFutureRelease": {"deep": [1, None, "x"]}}],
            "nodeSelector": {"disk": "ssd"},
        },
    }

    spec = create(api, namespace, {"spec.template": template})["spec"]

    assert spec["template"] == template


def test_an_unknown_field_is_dropped_where_the_client_does_not_ask_for_strictness(
    api: ApiServer, namespace: str
) -> None:
    spec = create(api, namespace, {"spec.minReplica": 3})["spec"]

    assert "minReplica" not in spec


CHOICES: dict[str, dict[str, object]] = {
    "all by default": {},
    "shared": {"spec.cpu": {"policy": "Shared", "request": "250m"}},
    "two cores": {"spec.cpu": {"policy": "Exclusive", "cores": 2}},
    "a target": {"spec.target": {"backlogPerReplica": 3}},
    "another target": {"spec.target": {"drainSeconds": 30}},
    "a rate": {"spec.scaleUp.limit": {"replicas": 5}, "spec.scaleDown.limit": {"percent": 10}},
    "another rate": {"spec.scaleUp.limit": {"percent": 50}},
}


@pytest.mark.parametrize("before", CHOICES)
@pytest.mark.parametrize("after", CHOICES)
def test_any_choice_can_be_applied_over_any_other(
    api: ApiServer, namespace: str, before: str, after: str
) -> None:
    apply(api, namespace, CHOICES[before])

    changed = apply(api, namespace, CHOICES[after])["spec"]

    # What kubectl merges into the stored pool is what a new pool would be.
    answer = api.request("POST", f"{pools('default')}?dryRun=All", pool(CHOICES[after]))
    assert changed == answer.body["spec"]


def test_a_status_is_written_apart_from_the_spec(api: ApiServer, namespace: str) -> None:
    created = create(api, namespace)
    status = {
        "observedGeneration": 1,
        "waiting": 25,
        "busy": 3,
        "replicas": 2,
        "desiredReplicas": 3,
        "readyReplicas": 2,
        "reason": "Backlog",
        "message": "25 waiting and 3 in flight at 10 for each replica need 3.",
        "lastScaleTime": "2026-01-02T03:04:05Z",
        "conditions": [condition("Ready"), condition("QueueReachable")],
    }
    change = {"status": status, "spec": {"paused": True}}

    answer = api.request(
        "PATCH",
        f"{pools(namespace)}/images/status",
        change,
        content_type="application/merge-patch+json",
    )

    assert answer.body["status"] == status
    assert answer.body["spec"] == created["spec"]
    assert answer.body["metadata"]["generation"] == 1


def test_conditions_are_merged_by_type(api: ApiServer, namespace: str) -> None:
    create(api, namespace)
    answers = [
        api.request(
            "PATCH",
            f"{pools(namespace)}/images/status?fieldManager=writer-of-{kind}",
            pool({"spec": REMOVE, "status": {"conditions": [condition(kind)]}}),
            content_type="application/apply-patch+yaml",
        )
        for kind in ("Ready", "ScalingLimited")
    ]

    conditions = answers[-1].body["status"]["conditions"]

    assert [entry["type"] for entry in conditions] == ["Ready", "ScalingLimited"]


@pytest.mark.parametrize(
    "wrong", [{"status": "Perhaps"}, {"reason": "Not one word"}, {"type": REMOVE}]
)
def test_a_condition_outside_the_conventions_is_refused(
    api: ApiServer, namespace: str, wrong: dict[str, object]
) -> None:
    create(api, namespace)
    entry = {k: v for k, v in (condition("Ready") | wrong).items() if v is not REMOVE}

    answer = api.request(
        "PATCH",
        f"{pools(namespace)}/images/status",
        {"status": {"conditions": [entry]}},
        content_type="application/merge-patch+json",
    )

    assert answer.code == 422
    assert next(iter(wrong)) in answer.message


def test_kubectl_shows_the_columns_of_a_pool(api: ApiServer, namespace: str) -> None:
    create(api, namespace)
    status = {"waiting": 25, "due": 1, "busy": 3, "replicas": 2, "desiredReplicas": 4}
    words = {"readyReplicas": 0, "reason": "Backlog", "message": "Why."}
    api.request(
        "PATCH",
        f"{pools(namespace)}/images/status",
        {"status": status | words},
        content_type="application/merge-patch+json",
    )

    narrow = api.kubectl("get", "wp", "--namespace", namespace).stdout.splitlines()
    wide = api.kubectl("get", "wp", "--namespace", namespace, "-o", "wide").stdout.splitlines()

    assert narrow[0].split() == [
        *("NAME", "QUEUE", "WAITING", "BUSY", "REPLICAS", "DESIRED", "READY", "REASON", "AGE")
    ]
    assert narrow[1].split()[:8] == [
        *("images", "queue:images", "25", "3", "2", "4", "0", "Backlog")
    ]
    assert wide[0].split() == [*narrow[0].split(), "MIN", "MAX", "DUE", "MESSAGE"]
    assert wide[1].split()[9:] == ["0", "10", "1", "Why."]


def test_kubectl_get_all_includes_pools(api: ApiServer, namespace: str) -> None:
    create(api, namespace)

    listed = api.kubectl("get", "all", "--namespace", namespace, "-o", "name").stdout

    assert listed.split() == ["workerpool.workerpool.dev/images"]


def test_a_pool_has_no_scale_of_its_own(api: ApiServer, namespace: str) -> None:
    create(api, namespace)

    assert api.request("GET", f"{pools(namespace)}/images/scale").code == 404


def fields(schema: Document, path: str = "") -> Iterator[tuple[str, Document]]:
    """Yield every field below `schema` with its path."""
    for name, field in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, field
        yield from fields(field, below)
        yield from fields(field.get("items", {}), f"{below}[]")


OWN_FIELDS = {path: field for path, field in fields(SCHEMA) if path.startswith(("spec", "status"))}


def test_kubectl_explains_every_field(api: ApiServer) -> None:
    undocumented = [path for path, field in OWN_FIELDS.items() if not field.get("description")]
    assert undocumented == []

    explained = api.kubectl("explain", "wp.spec.scaleDown.stabilizationSeconds").stdout

    assert "Seconds, 0 to 86400. Default 60." in " ".join(explained.split())


@pytest.mark.parametrize("path", [path for path in OWN_FIELDS if path.startswith("spec")])
def test_a_description_tells_the_default_and_the_bounds_that_are_in_force(path: str) -> None:
    field = OWN_FIELDS[path]
    text = field["description"]

    told: dict[str, Any] = {key: field[key] for key in ("minimum", "maximum") if key in field}
    if "default" in field and not isinstance(field["default"], dict):
        told["default"] = field["default"]
    missing = {k: v for k, v in told.items() if str(v).lower() not in text.lower()}

    assert missing == {}


@pytest.mark.parametrize("path", [path for path in OWN_FIELDS if "." in path])
def test_the_reference_describes_every_field(path: str) -> None:
    name = path.partition(".")[2].replace("[]", "")

    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("reason", [*Reason, "Starting", "InvalidSpec"])
def test_every_reason_is_explained(reason: str) -> None:
    assert reason in OWN_FIELDS["status.reason"]["description"]
    assert f"| `{reason}` |" in REFERENCE


def test_the_reference_names_the_default_in_force() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|", REFERENCE, re.MULTILINE))
    defaults = {
        path.removeprefix("spec.").replace("[]", ""): field["default"]
        for path, field in OWN_FIELDS.items()
        if "default" in field and not isinstance(field["default"], dict)
    }

    assert {name: rows[name] for name in defaults} == {
        name: str(default).lower() if isinstance(default, bool) else str(default)
        for name, default in defaults.items()
    }


def condition(kind: str) -> dict[str, object]:
    return {
        "type": kind,
        "status": "True",
        "reason": "Connected",
        "message": "All is well.",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "observedGeneration": 1,
    }


def test_the_sample_of_a_target_is_accepted(api: ApiServer, namespace: str) -> None:
    sample = ROOT / "manifests" / "targetref.yaml"

    done = api.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f"), sample
    )

    assert "created (server dry run)" in done.stdout
