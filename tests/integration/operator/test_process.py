"""The operator's own life: starts, ends, rights that come and go, API servers that fail."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.api_server import ApiServer
from support.fault_proxy import FaultProxy
from support.operator_process import (
    ACCOUNT,
    HASTY,
    NAMESPACE,
    OperatorProcess,
    await_right,
    install,
)
from support.redis_server import RedisServer
from support.redis_stage import RedisStage, redis_stage
from support.shop import Shop
from support.waiting import eventually

JOBS = [b"{}"] * 200
ATTEMPTS = 3
"""To end quickly: whatever waits on purpose waits each time, a busy machine does not."""
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/workerpool-system:workerpool-operator"


# --- starting


def test_without_its_settings_it_says_all_that_is_wrong_and_ends_with_two() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workerpool_operator"],
        env={"PATH": os.environ["PATH"], "WORKERPOOL_HTTP_PORT": "http"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "WORKERPOOL_WORKER_IMAGE is missing" in done.stderr
    assert "WORKERPOOL_HTTP_PORT='http'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_cluster_it_says_so_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workerpool_operator"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "KUBECONFIG": "/nonexistent/config",
            "WORKERPOOL_WORKER_IMAGE": "x",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "set KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_waits_for_the_resource_to_be_installed(own_api: ApiServer, own_shop: Shop) -> None:
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workerpools.workerpool.dev"
    own_api.kubectl("delete", "crd", "workerpools.workerpool.dev", "--wait")
    eventually(lambda: own_api.request("GET", crd).code == 404, "the end of the CRD")
    with OperatorProcess(own_api, ready=False) as operator:
        eventually(lambda: "CRD is not installed" in operator.log, "the complaint")
        assert operator.health("healthz") == 200
        assert operator.health("readyz") == 503

        install(own_api)
        eventually(lambda: operator.health("readyz") == 200, "readiness")
        own_shop.add(minReplicas=2)
        own_shop.await_replicas(2)


def test_a_restart_changes_nothing_and_shrinks_no_sooner(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    window = 3.0
    with OperatorProcess(own_api) as operator:
        own_shop.add(scaleDown={"stabilizationSeconds": int(window)})
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
        operator.kill()
        stage.client.delete(own_shop.queue())
        with own_shop.writes() as writes:
            time.sleep(window)  # the window goes by while nobody looks
            operator.start()
            own_shop.await_replicas(0)
        (leading, scaled) = (
            datetime.fromisoformat(operator.entries(**fields)[-1]["time"])
            for fields in ({"message": "leading"}, {"from": 20, "to": 0})
        )
        assert scaled - leading >= timedelta(seconds=window)
        assert [write.replicas for write in writes.of()] == [0], "and no apply in between"


def test_a_restart_does_not_forget_that_redis_lost_its_data(
    own_api: ApiServer, own_shop: Shop
) -> None:
    with redis_stage() as lossy, OperatorProcess(own_api) as operator:
        own_shop.redis_url = lossy.server.url
        own_shop.add(scaleDown={"stabilizationSeconds": 0})
        lossy.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
        lossy.server.kill()
        lossy.server.start()
        own_shop.await_condition("DataLost", "True", "DataLost")
        own_shop.event("DataLost")
        operator.kill()
        with own_shop.writes() as writes:
            operator.start()
            own_shop.edit(maxReplicas=30)  # to know when it has decided
            eventually(lambda: own_shop.status().get("observedGeneration") == 2, "a decision")
            eventually(lambda: own_shop.status().get("waiting") == 0, "a reading")

        assert writes.of() == []
        assert own_shop.status()["reason"] == "DataLost"
        assert own_shop.condition("DataLost") == ("True", "DataLost")
        assert len(own_shop.events("DataLost")) == 1


def test_a_new_worker_image_is_rolled_out_by_the_restart_that_brings_it(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with OperatorProcess(own_api):
        own_shop.add()
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
    renewed = {"WORKERPOOL_WORKER_IMAGE": "image-worker:next"}
    with own_shop.writes() as writes, OperatorProcess(own_api, renewed):
        eventually(lambda: own_shop.image() == "image-worker:next", "the new image")

    assert {write.replicas for write in writes.of()} == {20}


def test_what_a_half_made_deployment_lacks_is_made_up_for(
    own_api: ApiServer, own_shop: Shop
) -> None:
    """An operator that ended between its two creating steps left no digest and no claim."""
    with OperatorProcess(own_api):
        own_shop.add(minReplicas=3)
        own_shop.await_made()
    _make_half(own_shop)
    with OperatorProcess(own_api), own_shop.writes() as writes:
        own_shop.await_made()
        own_shop.edit(template={"spec": {"nodeSelector": {"disk": "fast"}}})
        eventually(
            lambda: own_shop.pod().get("nodeSelector") == {"disk": "fast"}, "the node selector"
        )
    assert {write.replicas for write in writes.of()} == {3}


def _make_half(shop: Shop) -> None:
    """Make a Deployment what it is after the first of the two steps."""
    deployment = shop.existing()
    meta = deployment["metadata"]
    first = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            name: meta[name] for name in ("name", "namespace", "labels", "ownerReferences")
        },
        "spec": deployment["spec"],
    }
    shop.remove_deployment()
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/images-worker"
    answer = shop.api.request(
        "PATCH",
        f"{path}?fieldManager=workerpool-operator&force=true",
        first,
        content_type="application/apply-patch+yaml",
    )
    assert answer.code < 300, answer.message


def test_only_the_namespaces_it_is_given_are_looked_after(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with (
        contextlib.closing(Shop(own_api, stage.server.url)) as other,
        OperatorProcess(own_api, {"WORKERPOOL_WATCH_NAMESPACES": own_shop.namespace}),
    ):
        other.add()
        own_shop.add()
        own_shop.await_replicas(0)
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)
        assert other.deployment() is None


# --- ending


def test_it_ends_at_once_when_told_to(own_api: ApiServer, own_shop: Shop) -> None:
    own_shop.add()

    def end() -> float:
        with OperatorProcess(own_api) as operator:
            _await_decision(operator, own_shop, 0)
            status, seconds = operator.stop()
        assert status == 0
        return seconds

    assert any(end() < 3 for _ in range(ATTEMPTS))


def test_it_ends_when_told_to_before_it_has_begun(own_api: ApiServer) -> None:
    """It waits for an API server that nobody serves."""
    with RedisServer() as nobody:
        address = f"https://127.0.0.1:{nobody.port}"

    def end() -> float:
        with OperatorProcess(own_api, server=address, ready=False) as operator:
            eventually(lambda: "cannot list the pools yet" in operator.log, "its first attempt")
            status, seconds = operator.stop()
        assert status == 0
        return seconds

    assert any(end() < 3 for _ in range(ATTEMPTS))


def test_it_ends_when_told_to_while_the_api_server_is_silent(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    own_shop.add()

    def end() -> float:
        stage.client.delete(own_shop.queue())
        with OperatorProcess(own_api, HASTY) as operator:
            _await_decision(operator, own_shop, 0)
            with own_api.frozen():
                stage.client.rpush(own_shop.queue(), *JOBS)
                _await_decision(operator, own_shop, 20)  # a write is under way now
                status, seconds = operator.stop()
        assert status == 0
        return seconds

    assert any(end() < 8 for _ in range(ATTEMPTS))


def _await_decision(operator: OperatorProcess, shop: Shop, desired: int) -> None:
    gauge = f'workerpool_desired_replicas{{namespace="{shop.namespace}",pool="images"}}'
    eventually(lambda: operator.metrics().get(gauge) == desired, f"{desired} to be decided")


# --- an API server in trouble


def test_an_api_server_that_restarts_is_lived_through(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with OperatorProcess(own_api) as operator:
        own_shop.add()
        own_shop.await_condition("Ready", "True", "Ready")
        own_api.kill()
        stage.client.rpush(own_shop.queue(), *JOBS)
        time.sleep(3)  # several attempts of every plane
        assert operator.running
        assert operator.health("healthz") == 200
        own_api.start()

        own_shop.await_replicas(20)
        own_shop.edit(maxReplicas=7)  # the watch lives, or the sweep does its work
        own_shop.await_replicas(7)
        own_shop.add("second", minReplicas=1)
        own_shop.await_replicas(1, "second")


def test_an_api_server_that_is_silent_for_a_while_is_lived_through(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    with OperatorProcess(own_api, HASTY) as operator:
        own_shop.add()
        own_shop.await_condition("Ready", "True", "Ready")
        with own_api.frozen():
            stage.client.rpush(own_shop.queue(), *JOBS)
            time.sleep(5)  # several timeouts
        own_shop.await_replicas(20)
        assert operator.running
        assert operator.health("healthz") == 200


async def test_a_decision_that_no_longer_holds_is_not_carried_out_after_an_outage(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    """It wanted to shrink, could not, and the work came back meanwhile."""
    async with FaultProxy(own_api.port) as proxy:
        # With retirement it would ask for pods first, and there is no answer to wait for.
        settings = {"WORKERPOOL_RETIREMENT": "off"}
        operator = OperatorProcess(own_api, settings, server=f"https://127.0.0.1:{proxy.port}")
        async with _running(operator):
            await asyncio.to_thread(own_shop.add)
            stage.client.rpush(own_shop.queue(), *JOBS)
            await asyncio.to_thread(own_shop.await_replicas, 20)
            await asyncio.to_thread(
                eventually, lambda: own_shop.status().get("replicas") == 20, "the status"
            )
            proxy.refuse()
            stage.client.delete(own_shop.queue())
            failed = "scale not written"
            await asyncio.to_thread(
                eventually, lambda: failed in operator.log, "a scaling that fails"
            )
            stage.client.rpush(own_shop.queue(), *JOBS)
            await asyncio.to_thread(_await_decision, operator, own_shop, 20)
            with own_shop.writes() as writes:
                proxy.flow()
                await asyncio.to_thread(own_shop.edit, maxReplicas=30)  # to know when it writes
                await asyncio.to_thread(
                    eventually, lambda: own_shop.status().get("observedGeneration") == 2, "a word"
                )
                await asyncio.sleep(1)
            assert writes.of() == []


@asynccontextmanager
async def _running(operator: OperatorProcess) -> AsyncIterator[None]:
    """Run it without keeping the loop, which the proxy needs, from turning."""
    await asyncio.to_thread(operator.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(operator.__exit__, *sys.exc_info())


# --- rights


def test_a_right_it_lacks_is_told_once_and_missed_until_it_comes(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage
) -> None:
    role = own_api.request("GET", ROLE).body
    try:
        with OperatorProcess(own_api) as operator:
            own_shop.add()
            own_shop.await_condition("Ready", "True", "Ready")
            rules = [r for r in role["rules"] if r["resources"] != ["deployments/scale"]]
            _set_rules(own_api, rules)
            scaling = {"verb": "patch", "namespace": own_shop.namespace, "group": "apps"}
            scaling |= {"resource": "deployments", "subresource": "scale"}
            await_right(own_api, granted=False, **scaling)
            stage.client.rpush(own_shop.queue(), *JOBS)
            own_shop.await_condition("Ready", "False", "Forbidden")
            own_shop.event("Forbidden")
            time.sleep(3)  # more attempts, and some 60 ticks
            assert "deployments/scale" in own_shop.event("Forbidden")["note"]
            attempts = len([e for e in operator.entries() if "scale not written" in e["message"]])
            assert attempts < 20, "later and later, however many ticks go by"

            _set_rules(own_api, role["rules"])
            own_shop.await_replicas(20)
            own_shop.await_condition("Ready", "False", "WorkersNotReady")
    finally:
        _set_rules(own_api, role["rules"])


def _set_rules(api: ApiServer, rules: list[object]) -> None:
    answer = api.request(
        "PATCH", ROLE, {"rules": rules}, content_type="application/merge-patch+json"
    )
    assert answer.code == 200, answer.message


def test_a_watch_that_is_forbidden_for_a_while_does_not_end_it(
    own_api: ApiServer, own_shop: Shop
) -> None:
    role = own_api.request("GET", ROLE).body
    try:
        with OperatorProcess(own_api) as operator:
            own_shop.add()
            own_shop.await_condition("Ready", "True", "Ready")
            _set_rules(own_api, [])
            own_api.kill()  # every watch must begin anew
            own_api.start()
            time.sleep(5)
            assert operator.running, operator.log[-3000:]

            _set_rules(own_api, role["rules"])
            own_shop.edit(minReplicas=4)
            own_shop.await_replicas(4)
    finally:
        _set_rules(own_api, role["rules"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace of its own")
def test_a_token_that_is_revoked_and_replaced_is_lived_through(
    own_api: ApiServer, own_shop: Shop, stage: RedisStage, tmp_path: Path
) -> None:
    """As in a pod: the kubelet replaces the file, nobody restarts the process."""
    shutil.copy(own_api.folder / "ca.crt", tmp_path / "ca.crt")
    (tmp_path / "namespace").write_text(NAMESPACE)
    _renew(own_api, tmp_path)
    settings = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(own_api.port),
    }
    with OperatorProcess(own_api, settings, in_pod=tmp_path) as operator:
        own_shop.add()
        own_shop.await_condition("Ready", "True", "Ready")

        own_api.kubectl("delete", "serviceaccount", ACCOUNT, "--namespace", NAMESPACE)
        install(own_api)  # a new account of that name; tokens of the old one are void
        own_api.kill()  # and so are its watches
        own_api.start()
        eventually(lambda: "401" in operator.log, "the first refusal")
        time.sleep(5)
        assert operator.running, operator.log[-3000:]
        assert len(operator.log.splitlines()) < 1_000, "no storm"

        _renew(own_api, tmp_path)
        own_shop.edit(minReplicas=4)
        own_shop.await_replicas(4, seconds=150)  # the client looks at the file once a minute
        stage.client.rpush(own_shop.queue(), *JOBS)
        own_shop.await_replicas(20)


def _renew(api: ApiServer, folder: Path) -> None:
    token = api.kubectl("create", "token", ACCOUNT, "--namespace", NAMESPACE).stdout.strip()
    fresh = folder / "token.new"
    fresh.write_text(token)
    fresh.replace(folder / "token")


# --- the pace of reading


def test_a_pool_that_is_no_longer_paused_shrinks_after_one_window(
    own_api: ApiServer, own_shop: Shop
) -> None:
    """Idle, it is read no more; a new policy must have it looked at again at once."""
    with OperatorProcess(own_api, {"WORKERPOOL_SAFETY_POLL_SECONDS": "600"}):
        own_shop.add(paused=True, scaleDown={"stabilizationSeconds": 2})
        own_shop.await_condition("Ready", "True", "Ready")
        own_shop.scale_by_hand(4)
        eventually(lambda: own_shop.status().get("replicas") == 4, "the scaling")
        resumed = time.monotonic()
        own_shop.edit(paused=False)
        own_shop.await_replicas(0)  # long before anybody would look without being told

    assert time.monotonic() - resumed > 1.9
