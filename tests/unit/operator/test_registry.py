"""What is known of pools and Deployments, whoever reports it first."""

from dataclasses import replace
from typing import Any

import pytest

from workerpool_operator.registry import (
    DeploymentRecord,
    PoolRecord,
    Registry,
    deployment_record,
    version_of,
)
from workerpool_operator.resource import Key

POOL = Key("shop", "images")
DEPLOYMENT = Key("shop", "images-worker")


def pool(version: int, *, generation: int = 1, uid: str = "uid", key: Key = POOL) -> PoolRecord:
    return PoolRecord(key, uid, version=version, generation=generation, pool=None)


def deployment(version: int, replicas: int = 0, *, key: Key = DEPLOYMENT) -> DeploymentRecord:
    return DeploymentRecord(
        key, "uid", version, replicas, ready=0, updated=True, applied="a", live="l"
    )


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def heard(registry: Registry) -> list[Key]:
    """Return which pools changed, in order."""
    keys: list[Key] = []
    registry.listen(keys.append)
    return keys


def test_who_wants_it_has_a_pool_looked_at_anew(registry: Registry, heard: list[Key]) -> None:
    registry.announce(POOL)
    assert heard == [POOL]


# --- pools


def test_a_new_pool_and_a_new_generation_are_told(registry: Registry, heard: list[Key]) -> None:
    registry.put_pool(pool(1))
    registry.put_pool(pool(2, generation=2))

    assert heard == [POOL, POOL]


def test_an_echo_of_a_status_write_is_kept_and_told_to_nobody(
    registry: Registry, heard: list[Key]
) -> None:
    registry.put_pool(pool(1))
    echo = replace(pool(2), status={"waiting": 5})

    registry.put_pool(echo)

    assert heard == [POOL]
    assert registry.pool(POOL) is echo


def test_a_pool_made_anew_under_its_name_is_told(registry: Registry, heard: list[Key]) -> None:
    registry.put_pool(pool(1))
    registry.put_pool(pool(9, uid="another"))

    assert heard == [POOL, POOL]


def test_a_list_taken_before_an_edit_does_not_undo_it(
    registry: Registry, heard: list[Key]
) -> None:
    edited = pool(5, generation=2)
    registry.put_pool(pool(1))
    registry.put_pool(edited)

    registry.put_pool(pool(1))

    assert registry.pool(POOL) is edited
    assert heard == [POOL, POOL]


def test_a_list_taken_before_a_deletion_does_not_bring_the_pool_back(
    registry: Registry, heard: list[Key]
) -> None:
    registry.put_pool(pool(1))
    registry.drop_pool(POOL, 7)

    registry.put_pool(pool(1))

    assert registry.pool(POOL) is None
    assert heard == [POOL, POOL]


def test_a_late_word_of_a_deletion_does_not_touch_the_pool_made_anew(
    registry: Registry, heard: list[Key]
) -> None:
    anew = pool(9, uid="another")
    registry.put_pool(anew)

    registry.drop_pool(POOL, 7)

    assert registry.pool(POOL) is anew
    assert heard == [POOL]


def test_a_pool_may_come_back_after_its_deletion(registry: Registry) -> None:
    registry.put_pool(pool(1))
    registry.drop_pool(POOL, 7)

    registry.put_pool(pool(8, uid="another"))

    assert registry.pool(POOL) is not None


def test_a_deletion_of_what_was_never_known_is_told_to_nobody(
    registry: Registry, heard: list[Key]
) -> None:
    registry.drop_pool(POOL, 7)
    registry.drop_deployment(DEPLOYMENT, 7)
    registry.miss_deployment(POOL)

    assert heard == []


# --- Deployments


def test_a_deployment_is_found_by_its_pool(registry: Registry, heard: list[Key]) -> None:
    record = deployment(1)

    registry.put_deployment(record)

    assert registry.deployment(POOL) is record
    assert list(registry.deployments) == [record]
    assert heard == [POOL]


def test_what_the_watch_repeats_is_told_to_nobody(registry: Registry, heard: list[Key]) -> None:
    registry.put_deployment(deployment(1))
    registry.put_deployment(deployment(1))

    assert heard == [POOL]


def test_an_older_deployment_never_replaces_a_newer_one(
    registry: Registry, heard: list[Key]
) -> None:
    newer = deployment(10, 5)
    registry.put_deployment(newer)

    registry.put_deployment(deployment(9, 0))

    assert registry.deployment(POOL) is newer
    assert heard == [POOL]


def test_the_answer_to_a_scaling_comes_ahead_of_the_watch(
    registry: Registry, heard: list[Key]
) -> None:
    registry.put_deployment(deployment(1, 0))

    registry.note_scale(POOL, 20, 2)
    registry.put_deployment(deployment(1, 0))

    known = registry.deployment(POOL)
    assert known is not None
    assert (known.replicas, known.version, known.updated) == (20, 2, False)
    assert heard == [POOL, POOL]


def test_the_answer_to_a_scaling_comes_too_late(registry: Registry) -> None:
    registry.put_deployment(deployment(3, 7))

    registry.note_scale(POOL, 20, 2)

    known = registry.deployment(POOL)
    assert known is not None
    assert known.replicas == 7


def test_the_answer_to_a_scaling_of_what_is_gone_is_dropped(registry: Registry) -> None:
    registry.note_scale(POOL, 20, 2)

    assert registry.deployment(POOL) is None


def test_a_copy_under_another_name_does_not_take_a_deployments_place(
    registry: Registry, heard: list[Key]
) -> None:
    """Whoever copies a manifest copies its labels and its owner, too."""
    own = deployment(1, 3)
    registry.put_deployment(own)

    registry.put_deployment(deployment(2, 9, key=Key("shop", "images-worker-copy")))
    registry.drop_deployment(Key("shop", "images-worker-copy"), 3)

    assert registry.deployment(POOL) is own
    assert heard == [POOL]


def test_a_deployment_made_anew_outlives_the_word_of_its_predecessors_end(
    registry: Registry,
) -> None:
    anew = deployment(9)
    registry.put_deployment(anew)

    registry.drop_deployment(DEPLOYMENT, 8)

    assert registry.deployment(POOL) is anew


def test_a_deployment_that_was_deleted_stays_deleted(registry: Registry) -> None:
    registry.put_deployment(deployment(1))
    registry.drop_deployment(DEPLOYMENT, 8)

    registry.put_deployment(deployment(7))

    assert registry.deployment(POOL) is None


def test_a_full_list_forgets_what_it_does_not_contain(
    registry: Registry, heard: list[Key]
) -> None:
    other = Key("shop", "other")
    registry.put_pool(pool(1))
    registry.put_pool(pool(2, key=other))
    registry.put_deployment(deployment(3))
    registry.put_deployment(deployment(4, key=Key("shop", "other-worker")))
    heard.clear()

    registry.retain({other}, {Key("shop", "other-worker")})

    assert [p.key for p in registry.pools] == [other]
    assert registry.deployment(POOL) is None
    assert registry.deployment(other) is not None
    assert set(heard) == {POOL}


def test_a_deployment_named_like_a_pool_does_not_keep_it(registry: Registry) -> None:
    """Pool `a` has the Deployment `a-worker`; a pool `a-worker` is another one."""
    registry.put_pool(pool(1, key=Key("shop", "images-worker")))
    registry.put_deployment(deployment(2))

    registry.retain(set(), {DEPLOYMENT})

    assert list(registry.pools) == []
    assert registry.deployment(POOL) is not None


# --- documents


def document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "metadata": {
            "namespace": "shop",
            "name": "images-worker",
            "uid": "its-uid",
            "resourceVersion": "12345678901",
            "generation": 4,
            "annotations": {"workerpool.dev/manifest-digest": "abc"},
            "ownerReferences": [
                {"uid": "not-the-controller"},
                {"uid": "uid", "controller": True},
            ],
        },
        "spec": {"replicas": 7, "template": {"spec": {}}},
        "status": {"readyReplicas": 5, "observedGeneration": 4},
    } | changes


def test_the_record_of_a_deployment() -> None:
    record = deployment_record(document())

    assert (record.key, record.owner, record.version) == (DEPLOYMENT, "uid", 12_345_678_901)
    assert (record.replicas, record.ready, record.updated) == (7, 5, True)
    assert (record.applied, record.uid) == ("abc", "its-uid")


def test_the_record_of_a_bare_deployment() -> None:
    """Not the operator's, or not seen by its controller yet."""
    meta = {
        "namespace": "shop",
        "name": "x",
        "uid": "u",
        "resourceVersion": "1",
        "generation": 1,
    }

    record = deployment_record({"metadata": meta, "spec": {}})

    assert (record.owner, record.applied, record.ready, record.updated) == ("", "", 0, False)
    assert record.replicas == 1, "what Kubernetes takes an absent count for"


def test_a_scaling_is_no_edit() -> None:
    scaled = document(spec={"replicas": 9, "template": {"spec": {}}})
    edited = document(spec={"replicas": 7, "template": {"spec": {"x": 1}}})

    assert deployment_record(scaled).live == deployment_record(document()).live
    assert deployment_record(edited).live != deployment_record(document()).live


def test_versions_are_compared_as_numbers() -> None:
    assert version_of({"metadata": {"resourceVersion": "99"}}) < version_of(
        {"metadata": {"resourceVersion": "100"}}
    )
