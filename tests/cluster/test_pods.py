"""What the product's pods may do, and what they need."""

import json
from typing import Any

import pytest

from support.kubectl import CommandFailed, Document
from support.product import Keep, MakePool, PhotoPool, Product, processes_of

MEGABYTE = 1_000_000
OPERATOR_MEGABYTES = 150
WORKER_MEGABYTES = 120
NOBODY = "65532\t65532\t65532\t65532"
NO_CAPABILITIES = "0000000000000000"
FILTERED = "2"


def test_a_worker_pod_can_do_nothing_but_its_work(make_pool: MakePool) -> None:
    pool = _resting(make_pool)
    (pod,) = pool.pods()
    spec = pod["spec"]
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["automountServiceAccountToken"] is False
    assert not any("projected" in volume for volume in spec["volumes"]), "a token is mounted"
    _is_harmless(pod)

    words = ("exec", pod["metadata"]["name"], "-n", pool.namespace, "--")
    with pytest.raises(CommandFailed, match="Read-only file system"):
        pool.kubectl.run(*words, "sh", "-c", "echo x >/written")
    with pytest.raises(CommandFailed, match="No such file"):
        pool.kubectl.run(*words, "ls", "/var/run/secrets/kubernetes.io/serviceaccount")
    assert pool.kubectl.run(*words, "id", "-u").strip() == "65532"


def test_the_operators_pod_can_do_nothing_but_ask_the_api(product: Product) -> None:
    pod = product.await_operator()
    assert pod["spec"]["securityContext"]["runAsUser"] == 65532
    _is_harmless(pod)
    rights = _rights(product)
    assert "secrets" in rights
    assert rights["secrets"] == {"get"}
    assert not any("delete" in verbs for verbs in rights.values()), rights
    assert rights["pods"] == {"list", "patch"}


def test_idle_pods_are_small(product: Product, make_pool: MakePool, keep: Keep) -> None:
    """Measured as PSS, the sum over a pod's processes: what it would give back if it ended."""
    pool = _resting(make_pool)
    (pod,) = pool.pods()
    bytes_of = {
        "operator": sum(process.pss_bytes for process in processes_of(product.await_operator())),
        "worker_pod_of_one_core": sum(process.pss_bytes for process in processes_of(pod)),
    }
    megabytes = {name: round(size / MEGABYTE, 1) for name, size in bytes_of.items()}
    keep("memory.json", json.dumps({"idle_pss_megabytes": megabytes}))
    assert 0 < megabytes["operator"] <= OPERATOR_MEGABYTES
    assert 0 < megabytes["worker_pod_of_one_core"] <= WORKER_MEGABYTES


def _resting(make_pool: MakePool) -> PhotoPool:
    """Make a pool with one worker that waits for jobs."""
    pool = make_pool(minReplicas=1, maxReplicas=1)
    pool.await_ready(1)
    return pool


def _is_harmless(pod: Document) -> None:
    """What the spec asks for, and what the kernel says of each of its processes."""
    (container,) = pod["spec"]["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    found = processes_of(pod)
    assert found
    for process in found:
        status = process.status()
        assert (status["Uid"], status["Gid"]) == (NOBODY, NOBODY)
        assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {NO_CAPABILITIES}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", FILTERED)


def _rights(product: Product) -> dict[str, set[str]]:
    """Return the verbs that the operator's Role allows in a namespace it looks after."""
    roles = product.kubectl.get("roles", "--all-namespaces")["items"]
    ours: list[dict[str, Any]] = [
        role for role in roles if role["metadata"]["name"].endswith(f"{product.release}-operator")
    ]
    assert ours
    rights: dict[str, set[str]] = {}
    for rule in ours[0]["rules"]:
        for resource in rule["resources"]:
            rights.setdefault(resource, set()).update(rule["verbs"])
    return rights
