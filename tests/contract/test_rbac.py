"""The operator's account may do what the operator does, and nothing else in the whole API.

That it does all of it is `test_rights_used`'s to see.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from support.api_server import ApiServer
from support.helm import CHART, Helm, only
from support.waiting import eventually

VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
    # Ways to become more than one is.
    *("impersonate", "bind", "escalate", "approve", "sign"),
)

Rights = dict[str, set[str]]
"""The verbs allowed for each `group/resource`."""

FOR_POOLS: Rights = {
    "workerpool.dev/workerpools": {"list", "watch"},
    "workerpool.dev/workerpools/status": {"patch"},
    "apps/deployments": {"get", "list", "watch", "create", "patch"},
    "apps/deployments/scale": {"patch"},
    "autoscaling/horizontalpodautoscalers": {"list"},
    "/pods": {"list", "patch"},
    "/secrets": {"get"},
    "events.k8s.io/events": {"create"},
}
FOR_CAPACITY: Rights = {"/nodes": {"list", "watch"}, "/pods": {"list", "watch", "patch"}}
"""With what pools need of pods."""
AT_HOME: Rights = {"coordination.k8s.io/leases": {"create"}}
"""In the operator's own namespace; its own Lease it may get and update, too."""


class Resource(NamedTuple):
    group: str
    name: str
    namespaced: bool

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


@pytest.fixture(scope="module")
def resources(api: ApiServer) -> list[Resource]:
    """Everything the API server knows."""
    groups = api.request("GET", "/apis").body["groups"]
    versions = [("", "/api/v1")] + [
        (group["name"], f"/apis/{version['groupVersion']}")
        for group in groups
        for version in group["versions"]
    ]
    found = {
        Resource(group, entry["name"], entry["namespaced"])
        for group, path in versions
        for entry in api.request("GET", path).body["resources"]
    }
    # Known to the authorizer alone: identities one could pretend to be.
    found |= {Resource("", name, namespaced=False) for name in ("users", "groups")}
    return sorted(found)


@pytest.fixture
def granted(
    api: ApiServer, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Apply the chart's roles, cluster-wide; the operator lives in the namespace returned."""
    text = roles(tmp_path_factory, namespace)
    api.kubectl("apply", "-f", "-", stdin=text)
    await_roles(api, namespace, "default")
    yield namespace
    api.kubectl("delete", "-f", "-", stdin=text)


def roles(tmp_path_factory: pytest.TempPathFactory, namespace: str, *values: str) -> str:
    helm = Helm(tmp_path_factory.mktemp("helm"))
    words = ("--namespace", namespace, "--show-only=templates/rbac.yaml")
    return helm.run("template", "workerpool", CHART, *words, *values)


def rights(
    api: ApiServer, resources: list[Resource], account: str, home: str, where: str
) -> Rights:
    """Return all that a service account of `home` may do in the namespace `where`."""
    found: Rights = {}
    for resource in resources:
        name, _, subresource = resource.name.partition("/")
        for verb in VERBS:
            attributes = {
                "verb": verb,
                "group": resource.group,
                "resource": name,
                "subresource": subresource,
                "namespace": where if resource.namespaced else "",
            }
            if may(api, account, home, attributes):
                found.setdefault(str(resource), set()).add(verb)
    return found


def may(api: ApiServer, account: str, home: str, attributes: dict[str, str]) -> bool:
    """Say whether a service account of `home` may do something."""
    answer = api.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {
            "spec": {
                "user": f"system:serviceaccount:{home}:{account}",
                "groups": [
                    "system:serviceaccounts",
                    f"system:serviceaccounts:{home}",
                    "system:authenticated",
                ],
                "resourceAttributes": attributes,
            }
        },
    )
    assert answer.code == 201, answer.message
    return bool(answer.body["status"]["allowed"])


def await_roles(api: ApiServer, home: str, where: str) -> None:
    """Wait until roles that were applied are in force: each is, a moment after it is stored."""
    pools = {"verb": "list", "group": "workerpool.dev", "resource": "workerpools"}
    lease = {"verb": "get", "group": "coordination.k8s.io", "resource": "leases"}
    lease |= {"name": "workerpool-operator", "namespace": home}
    for attributes in (pools | {"namespace": where}, lease):
        allowed = partial(may, api, "workerpool-operator", home, attributes)
        eventually(allowed, f"the right to {attributes}")


def beyond(found: Rights, everybody: Rights) -> Rights:
    """Return what is in `found` and not every account's anyway."""
    return {name: verbs for name, verbs in found.items() if verbs != everybody.get(name)}


def test_the_operator_has_exactly_the_rights_it_uses(
    api: ApiServer, resources: list[Resource], granted: str
) -> None:
    everybody = rights(api, resources, "somebody-else", granted, "default")

    found = rights(api, resources, "workerpool-operator", granted, "default")

    assert beyond(found, everybody) == FOR_POOLS | FOR_CAPACITY


def test_named_namespaces_confine_the_operator_to_them(
    api: ApiServer,
    resources: list[Resource],
    namespace: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    text = roles(tmp_path_factory, namespace, "--set=watchNamespaces={shop}")
    api.kubectl("apply", "-f", "-", stdin=text)
    await_roles(api, namespace, "shop")
    everybody = rights(api, resources, "somebody-else", namespace, "shop")

    inside = rights(api, resources, "workerpool-operator", namespace, "shop")
    outside = rights(api, resources, "workerpool-operator", namespace, "default")
    at_home = rights(api, resources, "workerpool-operator", namespace, namespace)

    assert beyond(inside, everybody) == FOR_POOLS
    assert beyond(outside, everybody) == {}
    assert beyond(at_home, everybody) == AT_HOME


@pytest.mark.parametrize(
    ("question", "where", "answer"),
    [
        ("get leases/workerpool-operator", "home", "yes"),
        ("update leases/workerpool-operator", "home", "yes"),
        ("patch leases/workerpool-operator", "home", "no"),
        ("delete leases/workerpool-operator", "home", "no"),
        ("update leases/somebody-elses", "home", "no"),
        ("get leases/workerpool-operator", "default", "no"),
        ("create leases", "default", "no"),
    ],
)
def test_one_lease_is_the_operators(
    api: ApiServer, granted: str, question: str, where: str, answer: str
) -> None:
    account = f"--as=system:serviceaccount:{granted}:workerpool-operator"
    namespace = granted if where == "home" else where

    done = api.kubectl("auth", "can-i", *question.split(), account, "-n", namespace, check=False)

    assert done.stdout.strip() == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("get secrets", "yes"),
        ("list secrets", "no"),
        ("watch secrets", "no"),
        ("get pods", "no"),
        ("delete pods", "no"),
        ("create pods/exec", "no"),
        ("patch deployments.apps", "yes"),
        ("delete deployments.apps", "no"),
        ("update deployments.apps", "no"),
        ("get workerpools.workerpool.dev", "no"),
        ("patch workerpools.workerpool.dev", "no"),
        ("delete workerpools.workerpool.dev", "no"),
        ("create serviceaccounts/token", "no"),
        ("create clusterrolebindings", "no"),
        ("list namespaces", "no"),
        ("list customresourcedefinitions.apiextensions.k8s.io", "no"),
        ("list nodes", "yes"),
        ("get nodes", "no"),
        ("patch nodes", "no"),
    ],
)
def test_a_person_who_asks_kubectl_gets_the_same_answer(
    api: ApiServer, granted: str, question: str, answer: str
) -> None:
    account = f"--as=system:serviceaccount:{granted}:workerpool-operator"

    done = api.kubectl("auth", "can-i", *question.split(), account, "-n", "default", check=False)

    assert done.stdout.strip() == answer


@pytest.mark.parametrize(
    ("values", "reads"),
    [
        ((), True),
        (("--set=operator.capacity=false",), False),
        (("--set=watchNamespaces={shop}",), False),
        (("--set=watchNamespaces={shop}", "--set=operator.capacity=true"), True),
    ],
)
def test_nodes_and_everybodys_pods_are_read_where_that_is_wanted(
    tmp_path_factory: pytest.TempPathFactory,
    values: tuple[str, ...],
    reads: bool,  # noqa: FBT001
) -> None:
    documents = Helm(tmp_path_factory.mktemp("helm")).render(*values)

    roles = [d for d in documents if d["metadata"]["name"] == "system:workerpool-operator"]
    rules = [rule for d in roles if d["kind"] == "ClusterRole" for rule in d["rules"]]
    deployment = only(documents, "Deployment", "workerpool-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    told = {e["name"]: e.get("value") for e in container["env"]}["WORKERPOOL_CAPACITY"]

    assert (["nodes", "pods"] in [rule["resources"] for rule in rules]) is reads
    assert (told == "true") is reads


def test_without_roles_the_operator_may_do_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    helm = Helm(tmp_path_factory.mktemp("helm"))

    documents = helm.render("--set=rbac.create=false")

    assert not [d for d in documents if d["apiVersion"].startswith("rbac.")]


@pytest.mark.parametrize(("wanted", "told"), [("true", "on"), ("false", "off")])
def test_pods_are_written_to_only_where_idle_ones_are_to_go_first(
    tmp_path_factory: pytest.TempPathFactory, wanted: str, told: str
) -> None:
    helm = Helm(tmp_path_factory.mktemp("helm"))

    documents = helm.render(f"--set=operator.retirement={wanted}")

    rules = [rule for d in documents if d["kind"] == "ClusterRole" for rule in d["rules"]]
    assert any(r["resources"] == ["pods"] and "patch" in r["verbs"] for r in rules) is (
        told == "on"
    )
    operator = only(documents, "Deployment", "workerpool-operator")
    [container] = operator["spec"]["template"]["spec"]["containers"]
    value = {e["name"]: e.get("value") for e in container["env"]}["WORKERPOOL_RETIREMENT"]
    assert value == told


def test_the_roles_of_people_cover_pools(tmp_path_factory: pytest.TempPathFactory) -> None:
    documents = Helm(tmp_path_factory.mktemp("helm")).render()
    prefix = "rbac.authorization.k8s.io/aggregate-to"

    view = only(documents, "ClusterRole", "system:workerpool-operator-pools-view")
    edit = only(documents, "ClusterRole", "system:workerpool-operator-pools-edit")

    assert view["metadata"]["labels"][f"{prefix}-view"] == "true"
    assert {f"{prefix}-edit", f"{prefix}-admin"} <= edit["metadata"]["labels"].keys()
    # A status is the operator's word: people read it.
    assert [rule["resources"] for rule in edit["rules"]] == [["workerpools"]]
