"""Which Redis it is, who we are there, and which list."""

from argparse import Namespace

import pytest

from unit.cli.stage import Cluster, Stage, pool_body
from unit.cli.test_kubectl import encoded
from workerpool_cli.errors import UsageError
from workerpool_cli.pool import RESOURCE
from workerpool_cli.session import Session, opened

ABROAD = {"list": "q:video", "redis": {"url": "redis://redis.example.com:6379/2"}}


def options(**given: object) -> Namespace:
    nothing = dict.fromkeys(("pool", "queue", "redis_url", "namespace", "context", "kubeconfig"))
    return Namespace(**{**nothing, **given})


def found(stage: Stage, **given: object) -> Session:
    with opened(options(**given), stage.world()) as session:
        return session


def test_without_any_hint_all_ways_are_named(stage: Stage) -> None:
    with pytest.raises(UsageError, match=r"--pool NAME.*--redis-url.*WORKERPOOL_REDIS_URL"):
        found(stage)


def test_the_environment_names_redis_and_the_list(stage: Stage) -> None:
    stage.environ |= {"WORKERPOOL_REDIS_URL": "redis://env", "WORKERPOOL_QUEUE": "q"}
    session = found(stage)
    assert (session.where, session.queue.keys.list) == ("redis://env:6379/0", "q")
    assert found(stage, redis_url="redis://option").where == "redis://option:6379/0"
    assert found(stage, queue="other").queue.keys.list == "other"


def test_a_named_pool_wins_over_the_environment(stage: Stage, cluster: Cluster) -> None:
    stage.environ |= {"WORKERPOOL_REDIS_URL": "redis://env", "KUBECTL": cluster.program}
    cluster.set(**{RESOURCE: {"video": pool_body(queue=ABROAD)}})
    session = found(stage, pool="video")
    assert (session.where, session.queue.keys.list) == (
        "redis://redis.example.com:6379/2",
        "q:video",
    )
    assert found(stage, pool="video", redis_url="redis://here").where == "redis://here:6379/0"


def test_a_pool_and_another_list_contradict_each_other(stage: Stage, cluster: Cluster) -> None:
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(**{RESOURCE: {"video": pool_body(queue=ABROAD)}})
    with pytest.raises(UsageError, match="disagree"):
        found(stage, pool="video", queue="queue:images")


def test_a_service_of_the_cluster_is_reached_by_a_port_forward(
    stage: Stage, cluster: Cluster
) -> None:
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(forward_port=4711, **{RESOURCE: {"images": pool_body()}})
    found(stage, pool="images")
    assert cluster.calls[-1][0] == "--namespace=shop"
    assert cluster.calls[-1][-2:] == ["service/redis", ":6379"]


def test_inside_the_cluster_no_port_forward_is_needed(stage: Stage, cluster: Cluster) -> None:
    stage.environ |= {"KUBECTL": cluster.program, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    cluster.set(**{RESOURCE: {"images": pool_body()}})
    found(stage, pool="images")
    assert not any("port-forward" in call for call in cluster.calls)


def test_who_gives_a_password_needs_no_right_to_read_secrets(
    stage: Stage, cluster: Cluster
) -> None:
    stage.environ["KUBECTL"] = cluster.program
    redis = {"url": "redis://redis.example.com:6379/0", "secretRef": {"name": "redis"}}
    body = pool_body(queue={"list": "queue:images", "redis": redis})
    cluster.set(secret={"redis": encoded(password="s3cret")}, **{RESOURCE: {"images": body}})  # noqa: S106
    found(stage, pool="images", redis_url="redis://:mine@here")
    assert not any("secret" in call for call in cluster.calls)
    found(stage, pool="images")
    assert any("secret" in call for call in cluster.calls)


def test_a_pool_behind_sentinels_needs_the_masters_address(stage: Stage, cluster: Cluster) -> None:
    stage.environ["KUBECTL"] = cluster.program
    redis = {"url": "redis://mymaster/0", "sentinels": ["sentinel:26379"]}
    body = pool_body(queue={"list": "queue:images", "redis": redis})
    cluster.set(**{RESOURCE: {"images": body}})
    with pytest.raises(UsageError, match=r"finds its Redis by Sentinels.*--redis-url"):
        found(stage, pool="images")
    assert found(stage, pool="images", redis_url="redis://here").where == "redis://here:6379/0"
