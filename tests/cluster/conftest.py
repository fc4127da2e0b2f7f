"""The running cluster, the product installed in it, and pools to test with.

One installation serves the whole session, and looks after the namespaces of these tests alone;
each test has a namespace and a pool of its own. What an interrupted run left is removed first.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.kubectl import Document, Kubectl
from support.local_nodes import AddNode, added_nodes, localcluster, remove_left_over
from support.product import (
    CHART,
    OURS,
    ROOT,
    Images,
    Keep,
    MakePool,
    PhotoPool,
    Product,
    make_namespace,
)

RELEASE = "wptest"
NAMESPACE = "workerpool-test"
POOL_NAMESPACES = [f"{NAMESPACE}-{number}" for number in range(1, 31)]
TEST_SECONDS = 240
POOLS = pytest.StashKey[list[PhotoPool]]()
ARTIFACTS = ROOT / ".build" / "artifacts"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound the tests, not what is built and started before the first: that has its own bounds."""
    bound = pytest.mark.timeout(TEST_SECONDS, func_only=True)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(bound)


@pytest.fixture(scope="session")
def images() -> Images:
    """Build what changed of the images."""
    localcluster("build-images", seconds=1500)
    return Images.built()


@pytest.fixture(scope="session")
def kubectl(images: Images) -> Kubectl:
    """Start the cluster if it does not run, give it the images, take away what is left over."""
    localcluster("up", seconds=600)
    remove_left_over()
    archives = sorted((ROOT / ".build" / "images").glob("*.tar"))
    localcluster("load-image", *map(str, archives), seconds=600)
    assert images.operator
    kubectl = Kubectl(ROOT / ".build" / "bin", ROOT / ".cluster" / "kubeconfig")
    _refuse_a_second_operator(kubectl)
    _remove(kubectl)
    kubectl.run("uncordon", "--selector=kubernetes.io/hostname")
    return kubectl


@pytest.fixture(scope="session")
def product(kubectl: Kubectl, images: Images) -> Iterator[Product]:
    """Install the chart by helm."""
    for name in (NAMESPACE, *POOL_NAMESPACES):
        make_namespace(kubectl, name)
    try:
        kubectl.helm(
            *("install", RELEASE, str(CHART), "--namespace", NAMESPACE),
            *("--wait", "--timeout=240s", "--take-ownership", "--force-conflicts"),
            f"--set=watchNamespaces={{{','.join(POOL_NAMESPACES)}}}",
            *images.as_values(),
            # Each node here has exactly one core to give away. A request of 50m beside it, and
            # no exclusive pod would ever be scheduled. Nodes in the real world are larger.
            "--set=operator.resources.requests.cpu=0",
            # Not by itself where namespaces are named: it reads the nodes and pods of all.
            "--set=operator.capacity=true",
            "--set=redis.resources.requests.cpu=0",
        )
        product = Product(kubectl, RELEASE, NAMESPACE)
        product.await_operator()
        yield product
    finally:
        _remove(kubectl)


@pytest.fixture(scope="session")
def namespaces() -> Iterator[str]:
    """Hand out the namespaces that the installation looks after, each once."""
    return iter(POOL_NAMESPACES)


@pytest.fixture
def make_pool(
    product: Product, namespaces: Iterator[str], request: pytest.FixtureRequest
) -> Iterator[MakePool]:
    """Make pools, and take them away when the test is over, however it ends."""
    pools = request.node.stash.setdefault(POOLS, [])
    with ExitStack() as stack:

        def make(**spec: Any) -> PhotoPool:  # noqa: ANN401  whatever the resource has
            namespace = next(namespaces, None)
            assert namespace, "The tests make more pools than POOL_NAMESPACES has: lengthen it."
            pool = PhotoPool(product, namespace, spec)
            stack.callback(pool.delete)
            pool.create()
            pools.append(pool)
            return pool

        yield make


@pytest.fixture
def add_node(product: Product) -> Iterator[AddNode]:
    """Add nodes to the cluster for one test; ask for it before the pools, which go first."""
    del product
    with added_nodes() as add:
        yield add


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failed test tell what became of its pools: they are about to be deleted."""
    report = yield
    if report.failed and call.when == "call":
        for pool in item.stash.get(POOLS, []):
            report.sections.append((f"the pool in {pool.namespace}", pool.story()))
    return report


@pytest.fixture(scope="session")
def keep() -> Keep:
    """Keep a text as an artefact of this run."""

    def write(name: str, text: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        (ARTIFACTS / name).write_text(text)

    return write


def _refuse_a_second_operator(kubectl: Kubectl) -> None:
    """Two operators that look after the same namespace would answer for each other here."""
    selector = "app.kubernetes.io/name=workerpool,app.kubernetes.io/component=operator"
    for deployment in kubectl.get("deployments", "--all-namespaces", "-l", selector)["items"]:
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        runs = deployment["spec"]["replicas"] > 0 and not namespace.startswith(NAMESPACE)
        if runs and not _watched(deployment):
            pytest.fail(
                f"{namespace}/{name} looks after every namespace of this cluster: run `make down`",
                pytrace=False,
            )


def _watched(deployment: Document) -> str:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    return environment.get("WORKERPOOL_WATCH_NAMESPACES") or ""


def _remove(kubectl: Kubectl) -> None:
    words = ("--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s")
    found = kubectl.get("namespaces", "-l", f"{OURS}=cluster")["items"]
    names = [item["metadata"]["name"] for item in found]
    known = kubectl.find("crd", "workerpools.workerpool.dev")  # not if it ended before the install
    pools = kubectl.get("wp", "--all-namespaces")["items"] if known else ()
    for name in {pool["metadata"]["namespace"] for pool in pools} & set(names):
        kubectl.run("delete", "wp", "--all", "-n", name, "--timeout=120s", seconds=130)
    if NAMESPACE in names:
        kubectl.helm("uninstall", RELEASE, *words)
    if names:
        kubectl.run(
            *("delete", "namespaces", *names, "--ignore-not-found", "--timeout=300s"), seconds=310
        )
