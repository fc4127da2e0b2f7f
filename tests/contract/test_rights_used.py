"""Each right the operator is given is one that it uses, and it asks for no other.

It runs with the very roles of the chart, against a real API server that writes down what it asks
for, through all that an operator lives through.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.api_server import ApiServer
from support.helm import CHART, Helm
from support.nodes import Nodes, nodes_of
from support.operator_process import ACCOUNT, LEASE, NAMESPACE, OperatorProcess, install
from support.redis_stage import RedisStage, redis_stage
from support.shop import Shop
from support.waiting import eventually

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
ROLES = "/apis/rbac.authorization.k8s.io/v1"
GRANT = f"{NAMESPACE}:{ACCOUNT}"
PASSWORD = "secret of the shop"  # noqa: S105  a test's
MERGE = "application/merge-patch+json"
HASH = "1"
REPLICA_SET = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": f"images-worker-{HASH}",
    "uid": "1",
    "controller": True,
}


class Right(NamedTuple):
    resource: str
    """`group/resource`, with a subresource."""
    verb: str


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API server of its own: what is granted here would reach into others' tests."""
    with ApiServer(audited=USER) as server:
        install(server)
        yield server


@pytest.fixture
def stage() -> Iterator[RedisStage]:
    with redis_stage() as stage:
        stage.client.config_set("requirepass", PASSWORD)
        yield stage


@pytest.fixture
def nodes(api: ApiServer) -> Iterator[Nodes]:
    with nodes_of(api) as nodes:
        yield nodes


@pytest.fixture
def shop(api: ApiServer, stage: RedisStage) -> Shop:
    shop = Shop(api, stage.server.url)
    shop.put_secret("redis", password=PASSWORD)
    return shop


def test_each_right_is_used_and_no_other_is_asked_for(
    api: ApiServer, shop: Shop, stage: RedisStage, nodes: Nodes
) -> None:
    with OperatorProcess(api, {"WORKERPOOL_CAPACITY": "true"}) as operator:
        _live(shop, stage, nodes)
        operator.stop()

    granted = _rights(_rules(api, f"clusterroles/{GRANT}")) | _of_the_lease(api)
    assert _used(api) == granted
    assert _refused(api) == []
    assert "orbidden" not in operator.log


def test_in_the_namespaces_it_is_confined_to_it_uses_each_right_and_asks_for_no_other(
    api: ApiServer,
    shop: Shop,
    stage: RedisStage,
    nodes: Nodes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    for kind in ("clusterroles", "clusterrolebindings"):
        assert api.request("DELETE", f"{ROLES}/{kind}/{GRANT}").code == 200
    helm = Helm(tmp_path_factory.mktemp("helm"))
    words = (f"--namespace={NAMESPACE}", "--show-only=templates/rbac.yaml")
    named = f"--set=watchNamespaces={{{shop.namespace}}}"
    text = helm.run("template", "workerpool", CHART, *words, named)
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    with OperatorProcess(api, {"WORKERPOOL_WATCH_NAMESPACES": shop.namespace}) as operator:
        _live(shop, stage, nodes)
        operator.stop()

    granted = _rights(_rules(api, f"namespaces/{shop.namespace}/roles/{GRANT}"))
    assert _used(api) == granted | _of_the_lease(api)
    assert _refused(api) == []
    assert api.request("GET", f"{ROLES}/clusterroles/{GRANT}").code == 404


def _live(shop: Shop, stage: RedisStage, nodes: Nodes) -> None:
    """Have two pools, one of them with a Deployment of somebody else, scaled up and down."""
    queue = {"url": shop.redis_url, "secretRef": {"name": "redis"}}
    node = nodes.add(4)
    shop.create_deployment(_theirs())
    shop.add("theirs", queue__redis=queue, targetRef={"name": "theirs-worker"})
    shop.add(queue__redis=queue, minReplicas=1, maxReplicas=2)
    for name in ("images", "theirs"):
        shop.await_condition("QueueReachable", "True", "Connected", name)
        stage.client.rpush(shop.queue(name), *[b"{}"] * 20)
    shop.await_replicas(2, seconds=60)
    shop.await_replicas(2, "theirs", seconds=60)

    for _ in range(2):
        pod = nodes.bind(shop.namespace, node, pool="images")
        labels = {"pod-template-hash": HASH}
        owned = {"metadata": {"labels": labels, "ownerReferences": [REPLICA_SET]}}
        assert shop.api.request("PATCH", pod, owned, content_type=MERGE).code == 200
    for name in ("images", "theirs"):
        stage.client.delete(shop.queue(name))
    shop.await_replicas(1, seconds=60)
    shop.await_replicas(0, "theirs", seconds=60)
    eventually(lambda: _told(shop, "Idle") == {"images", "theirs"}, shop.events)


def _told(shop: Shop, reason: str) -> set[str]:
    """Return the pools of which that was told, however often."""
    return {event["regarding"]["name"] for event in shop.events(reason)}


def _theirs() -> dict[str, Any]:
    labels = {"app": "theirs"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "i:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "theirs-worker"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }


def _used(api: ApiServer) -> set[Right]:
    used = set()
    for entry in api.audit():
        asked, code = entry.get("objectRef", {}), entry["responseStatus"]["code"]
        if "resource" not in asked or code == 403:  # discovery, which is everybody's
            continue
        used.add(_right(asked, entry["verb"]))
        if code == 201:  # what is applied and was not there needs the right to create it, too
            used.add(_right(asked, "create"))
    return used


def _refused(api: ApiServer) -> list[str]:
    return [
        f"{entry['verb']} {entry['requestURI']}"
        for entry in api.audit()
        if entry["responseStatus"]["code"] == 403
    ]


def _right(asked: dict[str, str], verb: str) -> Right:
    subresource = f"/{asked['subresource']}" if "subresource" in asked else ""
    return Right(f"{asked.get('apiGroup', '')}/{asked['resource']}{subresource}", verb)


def _rules(api: ApiServer, role: str) -> list[dict[str, list[str]]]:
    answer = api.request("GET", f"{ROLES}/{role}")
    assert answer.code == 200, answer.message
    rules: list[dict[str, list[str]]] = answer.body["rules"]
    return rules


def _of_the_lease(api: ApiServer) -> set[Right]:
    return _rights(_rules(api, f"namespaces/{NAMESPACE}/roles/{LEASE}-lease"))


def _rights(rules: list[dict[str, list[str]]]) -> set[Right]:
    return {
        Right(f"{group}/{resource}", verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
