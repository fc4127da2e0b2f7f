"""The local cluster keeps its promises: nodes, cores, names, volumes, and an owner."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from localcluster import cluster, components, cpus, programs
from localcluster.layout import Layout
from support.kubectl import Document, Kubectl
from support.product import ROOT, Images, make_namespace
from support.waiting import eventually

LAYOUT = Layout(ROOT)
NODES = ["node-1", "node-2"]
SECONDS = 60

Start = Callable[..., str]


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of one test's own."""
    name = f"localcluster-{token_hex(4)}"
    make_namespace(kubectl, name)
    # A bare pod is refused without it, and nobody tries again.
    kubectl.run("wait", "-n", name, "serviceaccount/default", "--for=create", "--timeout=50s")
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def start(kubectl: Kubectl, images: Images, namespace: str) -> Start:
    """Start a pod that runs a Python program, and wait until it is ready."""

    def start_pod(name: str, code: str, **spec: Any) -> str:  # noqa: ANN401 - whatever a pod has
        resources = spec.pop("resources", {})
        mounts = spec.pop("mounts", [])
        container = {
            "name": "main",
            "image": images.worker,
            "command": ["python", "-u", "-c", code],
            "resources": {"limits": resources},
            "volumeMounts": mounts,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        security = {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "containers": [container],
                "securityContext": security,
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                **spec,
            },
        }
        kubectl.apply(pod)
        kubectl.run(
            *("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready"),
            f"--timeout={SECONDS}s",
            seconds=SECONDS + 10,
        )
        return name

    return start_pod


IDLE = "import signal; print('ready'); signal.pause()"
SERVE = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"


def execute(kubectl: Kubectl, namespace: str, pod: str, code: str) -> str:
    return kubectl.run("exec", "-n", namespace, pod, "--", "python", "-c", code).strip()


def await_whole() -> None:
    """Wait until everything runs: a node that stood still is not called ready for a moment."""
    eventually(
        lambda: cluster.inspect(LAYOUT).is_whole, lambda: cluster.inspect(LAYOUT), every=0.2
    )


def test_two_nodes_are_ready_in_zones_of_their_own(kubectl: Kubectl) -> None:
    nodes: list[Document] = kubectl.get("nodes")["items"]
    assert [node["metadata"]["name"] for node in nodes] == NODES
    await_whole()
    zones = [node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes]
    assert zones == ["local-1", "local-2"]


def test_every_program_knows_the_version_that_is_pinned(kubectl: Kubectl) -> None:
    go_mod = (LAYOUT.sources / "kubernetes" / "go.mod").read_text()
    pinned = programs.pinned_version(go_mod, "k8s.io/kubernetes")
    versions = json.loads(kubectl.run("version", "-o", "json"))
    assert versions["clientVersion"]["gitVersion"] == pinned
    assert versions["serverVersion"]["gitVersion"] == pinned
    kubelets = [node["status"]["nodeInfo"] for node in kubectl.get("nodes")["items"]]
    assert [kubelet["kubeletVersion"] for kubelet in kubelets] == [pinned, pinned]


@pytest.mark.parametrize("node", NODES)
def test_an_exclusive_pod_owns_the_processor_that_its_kubelet_wrote_down(
    kubectl: Kubectl, namespace: str, start: Start, node: str
) -> None:
    start(
        f"exclusive-{node}",
        IDLE,
        resources={"cpu": "1", "memory": "64Mi"},
        nodeSelector={"kubernetes.io/hostname": node},
    )
    pod = kubectl.get("pod", "-n", namespace, f"exclusive-{node}")
    seen = cpus.parse_list(
        execute(
            kubectl,
            namespace,
            f"exclusive-{node}",
            "import os; print(*os.sched_getaffinity(0), sep=',')",
        )
    )
    state = json.loads((LAYOUT.node(node) / "kubelet" / "cpu_manager_state").read_text())
    assert pod["status"]["qosClass"] == "Guaranteed"
    assert seen == cpus.parse_list(state["entries"][pod["metadata"]["uid"]]["main"])
    assert len(seen) == 1


def test_names_of_services_resolve_and_lead_to_their_pods(
    kubectl: Kubectl, namespace: str, start: Start
) -> None:
    start("server", SERVE, nodeSelector={"kubernetes.io/hostname": "node-1"})
    start("client", IDLE, nodeSelector={"kubernetes.io/hostname": "node-2"})
    kubectl.run("expose", "-n", namespace, "pod/server", "--port=80", "--target-port=8000")
    look = """
import urllib.request
try:
    print(urllib.request.urlopen("http://{}/", timeout=5).status)
except OSError:
    pass
"""

    for name in ("server", f"server.{namespace}", f"server.{namespace}.svc.cluster.local"):
        code = look.format(name)
        eventually(partial(execute, kubectl, namespace, "client", code), f"{name} does not answer")


def test_names_outside_the_cluster_are_unknown_at_once(
    kubectl: Kubectl, namespace: str, start: Start
) -> None:
    start("client", IDLE)
    code = """
import socket, time
began = time.monotonic()
try:
    socket.getaddrinfo("registry.example", 443)
except socket.gaierror:
    print("unknown" if time.monotonic() - began < 2 else "")
"""
    # A resolver that is not answered asks again after 5 s, each time; a machine stands still once.
    eventually(lambda: execute(kubectl, namespace, "client", code), "slow each time")


def test_logs_and_forwarded_ports_reach_a_pod(
    kubectl: Kubectl, namespace: str, start: Start
) -> None:
    start("server", SERVE)
    command = [
        str(kubectl.programs / "kubectl"),
        f"--kubeconfig={kubectl.kubeconfig}",
        "-n",
        namespace,
    ]
    with subprocess.Popen(
        [*command, "port-forward", "pod/server", ":8000"], stdout=subprocess.PIPE, text=True
    ) as forward:
        try:
            assert forward.stdout is not None
            port = forward.stdout.readline().split(":")[1].split()[0]
            fetch = (
                "import sys,urllib.request as u; print(u.urlopen(sys.argv[1], timeout=30).status)"
            )
            got = subprocess.run(
                [sys.executable, "-c", fetch, f"http://127.0.0.1:{port}/"],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
        finally:
            forward.terminate()
    assert got.stdout.strip() == "200"
    eventually(
        lambda: "GET / HTTP/1.1" in kubectl.run("logs", "-n", namespace, "server"),
        "the request is not in the log",
        every=0.2,
    )


def test_a_claim_is_one_folder_on_both_nodes_and_goes_with_its_claim(
    kubectl: Kubectl, namespace: str, start: Start
) -> None:
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "shared", "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Mi"}},
            },
        }
    )
    volume = {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}
    for node in NODES:
        start(
            f"on-{node}",
            IDLE,
            mounts=[{"name": "shared", "mountPath": "/shared"}],
            volumes=[volume],
            nodeSelector={"kubernetes.io/hostname": node},
        )
    execute(kubectl, namespace, "on-node-1", "open('/shared/word', 'w').write('hello')")
    assert (
        execute(kubectl, namespace, "on-node-2", "print(open('/shared/word').read())") == "hello"
    )
    folder = LAYOUT.volumes / namespace / "shared"
    assert (folder / "word").read_text() == "hello"

    kubectl.run("delete", "pods", "-n", namespace, "--all", "--now")
    kubectl.run("delete", "pvc", "-n", namespace, "shared")
    eventually(lambda: not folder.exists(), f"{folder} is still there")


def test_what_was_killed_is_started_again_and_the_rest_left_alone() -> None:
    def pids() -> dict[str, str]:
        return {file.stem: file.read_text() for file in (LAYOUT.state / "run").glob("*.pid")}

    before = pids()
    components.end(LAYOUT, "coredns")
    assert not cluster.inspect(LAYOUT).is_whole
    cluster.up(LAYOUT)
    await_whole()
    after = pids()
    assert {name for name in before if before[name] != after[name]} == {"coredns"}


@pytest.mark.parametrize("verb", ["up", "down", "clean"])
def test_another_checkout_is_refused_and_told_whose_cluster_it_is(
    verb: str, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "localcluster", tmp_path / "localcluster")
    done = subprocess.run(
        [sys.executable, "-m", "localcluster", verb],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert str(ROOT) in done.stderr
    assert "make down" in done.stderr
    await_whole()
