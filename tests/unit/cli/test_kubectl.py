import base64
from typing import Any

import pytest

from unit.cli.stage import Cluster, pool_body
from workerpool_cli.errors import ClusterTrouble
from workerpool_cli.kubectl import Kubectl
from workerpool_cli.pool import RESOURCE, parse


def encoded(**entries: str) -> dict[str, Any]:
    return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in entries.items()}}


def test_a_pool_is_read_where_the_options_point_to(cluster: Cluster) -> None:
    cluster.set(**{RESOURCE: {"images": pool_body()}})
    pool = Kubectl(cluster.program, "shop", "prod", "/kube").pool("images")
    assert (pool.list, pool.job_timeout_seconds, pool.replicas, pool.ready) == (
        "queue:images",
        120,
        2,
        None,
    )
    assert {"--namespace=shop", "--context=prod", "--kubeconfig=/kube"} <= set(cluster.calls[0])


def test_a_misspelt_pool_is_answered_with_those_that_exist(cluster: Cluster) -> None:
    cluster.set(**{RESOURCE: {"video": {}, "images": {}}})
    with pytest.raises(ClusterTrouble, match=r"no pool 'imges'.*there are images, video"):
        Kubectl(cluster.program).pool("imges")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Unable to connect to the server: dial tcp: i/o timeout", "cannot be reached.*--context"),
        ("The connection to the server 10.0.0.1:6443 was refused", "cannot be reached"),
        ('error: the server doesn\'t have a resource type "workerpools"', "install the operator"),
        (
            "Error from server (Forbidden): workerpools is forbidden: User ann",
            "forbids it.*rights",
        ),
        ('error: context "x" does not exist', 'failed: error: context "x" does not exist'),
        ("", "it said nothing"),
    ],
)
def test_what_kubectl_says_becomes_a_remedy(cluster: Cluster, said: str, remedy: str) -> None:
    cluster.set(errors={"get": said or " "})
    with pytest.raises(ClusterTrouble, match=remedy):
        Kubectl(cluster.program).pool("images")


def test_what_kubectl_logs_does_not_bury_its_error(cluster: Cluster) -> None:
    log = 'E1127 10:23:45.678901   12345 memcache.go:265] "Unhandled Error" err="..."\n'
    refused = "The connection to the server 10.0.0.1:6443 was refused - is it right?"
    cluster.set(errors={"get": log * 7 + refused})
    with pytest.raises(ClusterTrouble) as caught:
        Kubectl(cluster.program).pool("images")
    assert str(caught.value).startswith(f"the cluster cannot be reached: {refused}; check")
    cluster.set(errors={"get": log.strip()})
    with pytest.raises(ClusterTrouble, match="it said nothing"):
        Kubectl(cluster.program).pool("images")


def test_without_kubectl_the_way_around_it_is_told() -> None:
    with pytest.raises(ClusterTrouble, match=r"/no/kubectl cannot be run.*--redis-url"):
        Kubectl("/no/kubectl").pool("images")


def test_a_secret_is_decoded_and_never_quoted(cluster: Cluster) -> None:
    broken = {"data": {"password": "c2VjcmV0/w=="}}  # not UTF-8
    cluster.set(secret={"redis": encoded(password="s3cret"), "broken": broken})  # noqa: S106
    kubectl = Kubectl(cluster.program)
    assert kubectl.secret("shop", "redis") == {"password": "s3cret"}
    with pytest.raises(ClusterTrouble, match="no text") as caught:
        kubectl.secret("shop", "broken")
    assert "secret\\xff" not in repr(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(ClusterTrouble, match="create it"):
        kubectl.secret("shop", "none")


def test_an_operator_that_saw_no_change_yet_is_told_from_one_that_did(cluster: Cluster) -> None:
    cluster.set(operator=False, **{RESOURCE: {"images": pool_body()}})
    pool = parse(pool_body())
    patched = Kubectl(cluster.program).set_paused(pool, paused=True)
    assert (patched.paused, patched.generation, patched.observed_generation) == (True, 4, 3)


def test_a_pool_of_an_older_crd_is_refused_in_words() -> None:
    body = pool_body()
    del body["spec"]["job"]
    with pytest.raises(ClusterTrouble, match=r"'job'.*CRD"):
        parse(body)


def test_a_pool_without_a_status_knows_nothing() -> None:
    body = pool_body()
    del body["status"]
    pool = parse(body)
    assert (pool.replicas, pool.observed_generation, pool.conditions) == (None, 0, ())
