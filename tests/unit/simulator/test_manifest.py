"""A manifest is completed and checked as the API server does it.

What that does is in the contract tests, which hold this against it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.pools import REMOVE, pool
from workerpool_operator.errors import InvalidResource
from workerpool_simulator.manifest import complete, read, schema

UNDERSTOOD = {
    *("type", "description", "default", "enum", "properties", "required", "items"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("additionalProperties", "x-kubernetes-preserve-unknown-fields"),
}
LEFT_OUT = {"x-kubernetes-validations", "x-kubernetes-list-type", "format"}
"""The API server's alone; `format: int32` says no more than the bounds beside it."""
OFFICE = {"cron": "0 8 * * MON-FRI", "durationMinutes": 600, "minReplicas": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pool.yaml"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("target.drainSeconds", 0, "must be 1 to 86400, not 0"),
        ("maxReplicas", 10**18, "must be 1 to 10000, not 1000000000000000000"),
        ("minReplicas", -1, "must be 0 to 10000, not -1"),
        ("minReplicas", True, "must be a whole number, not True"),
        ("job.timeoutSeconds", "30s", "must be a whole number, not '30s'"),
        ("scaleUp.limit.periodSeconds", float("nan"), "must be a whole number, not nan"),
        ("paused", "no", "must be true or false, not 'no'"),
        ("cpu.policy", "exclusive", "must be one of Exclusive, Shared, not 'exclusive'"),
        ("cpu", 4, "must be a mapping, not 4"),
        ("schedules", OFFICE, f"must be a list, not {OFFICE!r}"),
        ("schedules", [OFFICE] * 99, "must have 0 to 20 entries, not 99"),
        ("memory", 512, "must be a string, not 512"),
        ("queue.list", "", "must have 1 to 512 characters, not 0"),
        ("queue.list", REMOVE, "is missing"),
        ("target.drainSecond", 5, "is no field: spec.target has backlogPerReplica, drainSeconds,"),
        ("standby", 1, "is no field: spec has queue, "),
    ],
)
def test_a_field_that_is_wrong_is_named(field: str, value: object, words: str, file: Path) -> None:
    file.write_text(yaml.safe_dump(pool({f"spec.{field}": value})))

    with pytest.raises(InvalidResource) as caught:
        read(file)

    assert str(caught.value).startswith(f"{file}: spec.{field} {words}")


def test_a_wrong_field_of_an_entry_is_named_with_its_number() -> None:
    schedules = [OFFICE, OFFICE | {"minReplicas": 0}]

    with pytest.raises(InvalidResource, match=r"^spec.schedules\[1\].minReplicas must be 1 to "):
        complete(pool({"spec.schedules": schedules})["spec"])


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(InvalidResource) as caught:
        complete(pool({"spec.maxReplicas": 0, "spec.target.drainSeconds": 0})["spec"])

    assert str(caught.value).splitlines() == [
        "spec.maxReplicas must be 1 to 10000, not 0",
        "spec.target.drainSeconds must be 1 to 86400, not 0",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.cpu": {"policy": "Shared", "request": "250m"}},
        {"spec.cpu": None, "spec.job": None, "spec.scaleDown.limit": None},
        {"spec.target": {"drainSeconds": 30, "maxWaitSeconds": 60}},
        {"spec.schedules": [OFFICE], "spec.fallback": {"replicas": 10}},
        {"spec.template": {"metadata": {"labels": {"a": "b"}}, "spec": {"whatever": [{}]}}},
        {"spec.targetRef": {"name": "legacy"}},
    ],
)
def test_what_the_api_server_takes_is_taken(changes: dict[str, object], file: Path) -> None:
    file.write_text(yaml.safe_dump(pool(changes)))

    read(file)


def test_cores_without_a_policy_are_exclusive(file: Path) -> None:
    file.write_text(yaml.safe_dump(pool({"spec.cpu": {"cores": 4}})))

    taken = read(file)

    assert taken.cpu.policy == "Exclusive"
    assert taken.policy.workers_per_replica == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe", "is no YAML: "),
        (b"kind: [", "is no YAML: "),
        (b"kind: Deployment", "holds no WorkerPool: name a file with one kind: WorkerPool"),
        (b"kind: WorkerPool\n---\nkind: WorkerPool", "holds 2 WorkerPools"),
        (b"kind: WorkerPool", "pool.yaml: spec must be a mapping, not None"),
        (b"{kind: WorkerPool, spec: [1]}", "pool.yaml: spec must be a mapping, not [1]"),
        (b"{kind: WorkerPool, metadata: 1, spec: {}}", "metadata must be a mapping, not 1"),
    ],
)
def test_a_file_that_is_no_pool_is_refused(text: bytes, words: str, file: Path) -> None:
    file.write_bytes(text)

    with pytest.raises(InvalidResource) as caught:
        read(file)

    assert words in str(caught.value)


def test_the_schema_says_nothing_that_is_not_understood() -> None:
    keywords = {keyword for part in _parts(schema()) for keyword in part}

    assert keywords <= UNDERSTOOD | LEFT_OUT


def _parts(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield part
    inner = [*part.get("properties", {}).values()]
    inner += [part[name] for name in ("items", "additionalProperties") if name in part]
    for other in inner:
        yield from _parts(other)
