"""The chart's Redis loses no accepted job to a restart, and shows its password to nobody."""

import subprocess
from pathlib import Path

import pytest

from support.helm import Document, Helm, only, pod_templates
from support.waiting import eventually

SECONDS = 60


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def documents(helm: Helm) -> list[Document]:
    return helm.render()


def test_redis_keeps_what_it_acknowledged(documents: list[Document]) -> None:
    lines = only(documents, "ConfigMap")["data"]["redis.conf"].splitlines()

    for line in (
        "appendonly yes",
        "appendfsync everysec",
        "no-appendfsync-on-rewrite yes",
        "maxmemory-policy noeviction",
    ):
        assert lines.count(line) == 1
        assert sum(other.startswith(line.split()[0]) for other in lines) == 1


def test_redis_has_a_volume_for_it(documents: list[Document]) -> None:
    spec = only(documents, "StatefulSet")["spec"]
    [claim] = spec["volumeClaimTemplates"]
    [container] = spec["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    conf = only(documents, "ConfigMap")["data"]["redis.conf"]
    assert f"dir {mounts[claim['metadata']['name']]}\n" in conf


def test_the_password_of_redis_is_no_argument(documents: list[Document]) -> None:
    secret = only(documents, "Secret")["stringData"]
    [container] = only(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]

    assert container["command"] == ["redis-server", "/etc/redis/redis.conf"]
    assert "args" not in container
    assert secret["auth.conf"] == f"requirepass {secret['password']}\n"
    assert len(secret["password"]) == 32


def test_a_real_redis_runs_with_the_configuration(
    documents: list[Document], tmp_path: Path
) -> None:
    secret = only(documents, "Secret")["stringData"]
    auth, socket, conf = (tmp_path / name for name in ("auth.conf", "socket", "redis.conf"))
    auth.write_text(secret["auth.conf"])
    text = only(documents, "ConfigMap")["data"]["redis.conf"]
    for inside, here in (("/data", tmp_path), ("/etc/redis-auth/auth.conf", auth)):
        assert text.count(inside) == 1
        text = text.replace(inside, str(here))
    conf.write_text(f"{text}\nport 0\nunixsocket {socket}\n")

    def ask(*words: str, credential: str = secret["password"]) -> list[str]:
        done = subprocess.run(
            ["redis-cli", "-e", "-s", socket, *words],
            env={"REDISCLI_AUTH": credential, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.stdout.split() if done.returncode == 0 else []

    server = subprocess.Popen(["redis-server", conf], stdout=subprocess.DEVNULL)
    try:
        eventually(
            lambda: server.poll() is not None or ask("ping") == ["PONG"], "an answer of Redis"
        )
        assert server.poll() is None, "redis-server ended"

        assert ask("ping", credential="not-it") == []
        names = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")
        answers = {name: ask("config", "get", name)[-1] for name in names}
    finally:
        server.kill()
        server.wait(SECONDS)

    assert answers == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "no-appendfsync-on-rewrite": "yes",
        "maxmemory-policy": "noeviction",
    }


def test_a_secret_of_the_user_takes_the_place_of_the_charts(helm: Helm) -> None:
    documents = helm.render("--set=redis.existingSecret=mine")
    [container] = pod_templates(documents)["workerpool-redis"]["spec"]["containers"]

    assert [document for document in documents if document["kind"] == "Secret"] == []
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "mine"


def test_rendered_without_a_cluster_only_a_secret_of_the_user_is_the_same_each_time(
    helm: Helm,
) -> None:
    """What Argo CD applies again and again (docs/install.md)."""
    mine = "--set=redis.existingSecret=mine"

    assert helm.render(mine) == helm.render(mine)
    first, second = helm.render(), helm.render()
    assert [d["kind"] for d, other in zip(first, second, strict=True) if d != other] == ["Secret"]


def test_without_redis_nothing_of_it_is_made(helm: Helm) -> None:
    documents = helm.render("--set=redis.enabled=false")

    assert pod_templates(documents).keys() == {"workerpool-operator"}
    assert not any("redis" in document["metadata"]["name"] for document in documents)
