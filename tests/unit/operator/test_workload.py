"""Pool → Deployment, compared as whole documents (`workload/*.yaml`, each pool and its result)."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.workerpools import stored
from workerpool_operator.resource import Key, parse
from workerpool_operator.workload import (
    DIGEST_ANNOTATION,
    deployment,
    deployment_key,
    digest,
    pool_key,
)

FOLDER = Path(__file__).parent / "workload"


def cases() -> list[Any]:
    """Return each file's pool and the Deployment it must become."""
    documents = {p.stem: yaml.safe_load_all(p.read_text()) for p in sorted(FOLDER.glob("*.yaml"))}
    return [pytest.param(*pair, id=name) for name, pair in documents.items()]


def made(changes: dict[str, object] | None = None, **options: str) -> Any:  # noqa: ANN401
    return deployment(
        parse(stored(changes)),
        image=options.get("image", "image-worker:1"),
        pull_policy="IfNotPresent",
        protected="protected" in options,
    )


@pytest.mark.parametrize(("changes", "expected"), cases())
def test_the_deployment_of_a_pool(changes: dict[str, object], expected: dict[str, Any]) -> None:
    manifest = made(changes)

    del manifest["metadata"]["annotations"]
    assert manifest == expected


def test_workers_behind_sentinels_are_told_whom_to_ask_and_for_which_master() -> None:
    redis = {"url": "redis://photos/0", "sentinels": ["sentinel-0", "sentinel-1:5000"]}
    template = {
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "WORKERPOOL_REDIS_SENTINEL_MASTER", "value": "another"}],
                }
            ]
        }
    }
    manifest = made({"spec.queue.redis": redis, "spec.template": template})

    [worker] = manifest["spec"]["template"]["spec"]["containers"]
    told = [(v["name"], v.get("value")) for v in worker["env"] if "REDIS" in v["name"]]
    assert told == [
        ("WORKERPOOL_REDIS_URL", "redis://photos/0"),
        ("WORKERPOOL_REDIS_SENTINELS", "sentinel-0,sentinel-1:5000"),
        ("WORKERPOOL_REDIS_SENTINEL_MASTER", "photos"),
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, True, id="alone"),
        pytest.param({"initContainers": [{"name": "fetch"}]}, True, id="over before it starts"),
        pytest.param(
            {"initContainers": [{"name": "mesh", "restartPolicy": "Always"}]},
            None,
            id="a sidecar's processes are not the decoder's to see",
        ),
        pytest.param({"shareProcessNamespace": False}, False, id="as the template says"),
    ],
)
def test_a_worker_is_not_process_1_where_nobody_else_is(
    spec: dict[str, object],
    expected: bool | None,  # noqa: FBT001
) -> None:
    manifest = made({"spec.template": {"spec": spec}})
    assert manifest["spec"]["template"]["spec"].get("shareProcessNamespace") is expected


def test_replicas_are_nobodys_here() -> None:
    assert "replicas" not in made({"spec.minReplicas": 3})["spec"]


def test_a_pools_template_is_left_as_it_was() -> None:
    """The pool is kept in memory, and its manifest is made from it again and again."""
    body = stored({"spec.template": {"spec": {"containers": [{"name": "worker"}]}}})
    pool = parse(body)

    first = deployment(pool, image="i", pull_policy="Always", protected=True)
    second = deployment(pool, image="i", pull_policy="Always", protected=True)

    assert first == second
    assert body["spec"]["template"] == {"spec": {"containers": [{"name": "worker"}]}}


def test_the_digest_tells_manifests_apart_and_nothing_else() -> None:
    def mark(manifest: Any) -> str:  # noqa: ANN401
        return str(manifest["metadata"]["annotations"][DIGEST_ANNOTATION])

    assert mark(made()) == mark(made())
    assert mark(made()) != mark(made(image="image-worker:2"))
    assert mark(made()) != mark(made({"spec.memory": "1Gi"}))
    assert mark(made()) == mark(made({"spec.maxReplicas": 3})), "replicas are not its business"
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})


def test_a_deployments_name_leads_back_to_its_pool() -> None:
    pool = Key("shop", "my-worker")

    assert deployment_key(pool) == Key("shop", "my-worker-worker")
    assert pool_key(deployment_key(pool)) == pool
    assert pool_key(Key("shop", "worker-2")) is None


def test_busy_pods_are_left_alone_by_those_who_tidy_up_nodes() -> None:
    template = made(protected="yes")["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


def test_a_pools_template_may_allow_it_all_the_same() -> None:
    allowed = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true", "mine": "1"}
    pool: dict[str, object] = {"spec.template": {"metadata": {"annotations": allowed}}}
    template = made(pool, protected="yes")["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "karpenter.sh/do-not-disrupt": "true",
        **allowed,
    }


def test_workers_are_told_of_delivery_only_if_it_is_not_the_usual() -> None:
    def told(changes: dict[str, object]) -> list[str]:
        (worker,) = made(changes)["spec"]["template"]["spec"]["containers"]
        return [v["value"] for v in worker["env"] if v["name"] == "WORKERPOOL_DELIVERY"]

    assert told({"spec.queue.delivery": "at-least-once"}) == told({}) == []
    assert told({"spec.queue.delivery": "at-most-once"}) == ["at-most-once"]
