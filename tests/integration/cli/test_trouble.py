"""Whatever is wrong with Redis is told in words, with a remedy, and never with a secret."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from integration.cli.conftest import Tool
from support.redis_server import RedisServer, free_port
from unit.cli.stage import Cluster, pool_body
from unit.cli.test_kubectl import encoded
from workerpool_cli.errors import RedisTrouble
from workerpool_cli.pool import RESOURCE
from workerpool_cli.queues import Queue

RIGHTS = Path(__file__).parents[3] / "docs" / "cli.md"
SECRET = "correct-horse"  # noqa: S105


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    with RedisServer({"requirepass": SECRET}) as server:
        with redis.Redis(port=server.port, password=SECRET) as client:
            client.acl_setuser(
                "reader",
                enabled=True,
                passwords=["+readers"],
                keys=["*"],
                commands=["+@read", "+time"],
            )
        yield server


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "it wants a password; set WORKERPOOL_REDIS_PASSWORD"),
        ({"WORKERPOOL_REDIS_PASSWORD": "battery"}, "wrong password for the default user"),
        (
            {"WORKERPOOL_REDIS_PASSWORD": "battery", "WORKERPOOL_REDIS_USERNAME": "ann"},
            "wrong password for the user 'ann'",
        ),
        (
            {"WORKERPOOL_REDIS_PASSWORD": "readers", "WORKERPOOL_REDIS_USERNAME": "reader"},
            "forbids it",
        ),
    ],
)
def test_who_may_not_is_told_what_to_change(
    guarded: RedisServer, environ: dict[str, str], said: str
) -> None:
    done = Tool(guarded, "queue:images", environ).run("push", "--names", "a.jpg")
    assert done.returncode == 1
    assert said in done.stderr
    assert not any(word in done.stderr + done.stdout for word in (SECRET, "battery", "readers"))
    assert "Traceback" not in done.stderr


def test_a_password_that_nobody_wants_is_named(tool: Tool) -> None:
    tool.environ["WORKERPOOL_REDIS_PASSWORD"] = SECRET
    by_environ = tool.run("status")
    with_password = f"redis://:{SECRET}@127.0.0.1:{tool.server.port}"
    by_url = tool.run("status", "--redis-url", with_password)
    for done, origin in ((by_environ, "WORKERPOOL_REDIS_PASSWORD"), (by_url, "--redis-url")):
        assert done.returncode == 1
        assert f"it has none; take it out of {origin}" in done.stderr
        assert SECRET not in done.stderr


def test_the_right_password_opens_by_url_environment_and_secret(
    guarded: RedisServer, cluster: Cluster
) -> None:
    by_url = Tool(
        guarded, "q", {"WORKERPOOL_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:{guarded.port}"}
    )
    by_environ = Tool(guarded, "q", {"WORKERPOOL_REDIS_PASSWORD": SECRET})
    redis_spec = {"url": "redis://redis:6379/0", "secretRef": {"name": "redis"}}
    body = pool_body(queue={"list": "q", "redis": redis_spec})
    cluster.set(
        forward_port=guarded.port,
        secret={"redis": encoded(password=SECRET)},
        **{RESOURCE: {"images": body}},
    )
    own = {"KUBECTL": cluster.program, "FAKE_KUBECTL": str(cluster.folder)}
    for tool, words in (
        (by_url, ["status"]),
        (by_environ, ["status"]),
        (Tool(guarded, "q", own), ["status", "images"]),
    ):
        done = tool.run(*words)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_a_redis_that_is_away_is_named(tool: Tool) -> None:
    done = tool.run("status", "--redis-url", "redis://127.0.0.1:1")
    assert done.returncode == 1
    assert "redis://127.0.0.1:1/0 cannot be reached" in done.stderr


LOOKS = (["status"], ["dead", "list"], ["dead", "show", "1"], ["dead", "requeue", "--all"])


def test_a_key_of_another_kind_is_named(tool: Tool, client: "redis.Redis") -> None:
    client.hset(tool.name, "a", "b")
    for words in (["push", "--names", "a"], *LOOKS):
        done = tool.run(*words)
        assert done.returncode == 1
        assert f"{tool.name} is a hash in this Redis, and a queue is a list" in done.stderr


def test_a_key_beside_the_list_that_is_of_another_kind_is_named(
    queue: Queue, client: "redis.Redis"
) -> None:
    queue.check()
    for name in ("landing", "jobs", "inflight", "retry", "dead", "workers", "stats"):
        key = f"{queue.keys.prefix}{name}"
        client.set(key, "of somebody else")
        with pytest.raises(RedisTrouble, match=f"{key} is a string .* and a queue keeps there a "):
            queue.check()
        client.delete(key)


def test_a_replica_takes_no_jobs(server: RedisServer) -> None:
    with RedisServer({"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        done = Tool(replica, "queue:replica").run("push", "--names", "a.jpg")
    assert done.returncode == 1
    assert "read-only replica: give the address of the primary" in done.stderr


def test_a_frozen_redis_is_not_waited_for_for_ever() -> None:
    with RedisServer() as server:
        tool = Tool(server, "queue:frozen")
        with server.frozen():
            done = tool.run("status")
    assert done.returncode == 1
    assert "did not answer in time" in done.stderr


def test_a_cluster_node_without_the_list_says_which_has_it() -> None:
    bus = str(free_port())  # else it is 10,000 above the other, which may be too high
    with RedisServer({"cluster-enabled": "yes", "cluster-port": bus}) as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 100)
        done = Tool(server, "queue:images").run("status")
    assert done.returncode == 1
    assert "Redis Cluster" in done.stderr


def test_the_rights_that_the_documentation_lists_are_enough() -> None:
    documented = re.findall(r"`([A-Z][A-Z ]+)`", RIGHTS.read_text().partition("## Rights")[2])
    commands = sorted({f"+{word.lower()}" for words in documented for word in words.split()})
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        keys = ["queue:images", "{queue:images}:*"]
        client.acl_setuser("ann", enabled=True, nopass=True, keys=keys, commands=commands)
        dead = {"letter-1": 1, "letter-2": 2}
        client.zadd("{queue:images}:dead", dead)
        client.hset("{queue:images}:jobs", "letter-1", "letter-1 5 0 1 Timeout slow\n{}")
        client.zadd("{queue:images}:workers", {"w": 1})
        own = {"WORKERPOOL_REDIS_USERNAME": "ann", "WORKERPOOL_REDIS_PASSWORD": "any"}
        tool = Tool(server, "queue:images", own)
        for code, words in (
            (0, ["status"]),
            (0, ["push", "--names", "a.jpg"]),
            (4, ["push", "--names", "b.jpg", "--wait", "--timeout", "1s"]),
            (0, ["dead", "list"]),
            (0, ["dead", "requeue", "letter-1"]),
            (0, ["dead", "drop", "--all", "--yes"]),
        ):
            done = tool.run(*words)
            assert done.returncode == code, (words, done.stderr)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with a certificate for redis.shop.svc, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=redis"),
            *("-addext", "subjectAltName=DNS:redis.shop.svc"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    with RedisServer() as plain:
        port = plain.port
    config = {
        "tls-cert-file": str(folder / "ca.pem"),
        "tls-key-file": str(folder / "key.pem"),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "no",
        "tls-port": str(port),
    }
    with RedisServer(config) as server:
        (server.folder / "tls-port").write_text(str(port))
        (server.folder / "ca.pem").write_text((folder / "ca.pem").read_text())
        yield server


def test_a_port_forward_does_not_weaken_tls(encrypted: RedisServer, cluster: Cluster) -> None:
    port = int((encrypted.folder / "tls-port").read_text())
    ca = {"ca.crt": (encrypted.folder / "ca.pem").read_text()}
    own = {"KUBECTL": cluster.program, "FAKE_KUBECTL": str(cluster.folder)}
    for host, entries, trusted in (
        ("redis.shop.svc", ca, True),
        ("redis.shop.svc", {}, False),
        ("redis.other.svc", ca, False),
    ):
        spec = {"url": f"rediss://{host}:6379/0", "secretRef": {"name": "redis"}}
        body = pool_body(queue={"list": "q", "redis": spec})
        cluster.set(
            forward_port=port, secret={"redis": encoded(**entries)}, **{RESOURCE: {"images": body}}
        )
        done = Tool(encrypted, "q", own).run("status", "images")
        assert (done.returncode == 0) is trusted, done.stderr
        assert trusted or "certificate" in done.stderr


def test_a_ca_file_is_trusted_but_not_for_another_host(encrypted: RedisServer) -> None:
    port = int((encrypted.folder / "tls-port").read_text())
    environ = {"WORKERPOOL_REDIS_CA_FILE": str(encrypted.folder / "ca.pem")}
    done = Tool(encrypted, "q", environ).run("status", "--redis-url", f"rediss://127.0.0.1:{port}")
    assert done.returncode == 1
    assert "IP address mismatch" in done.stderr
    assert "a name that is in the certificate" in done.stderr


def test_a_certificate_that_nobody_trusts_is_told_with_the_remedy(encrypted: RedisServer) -> None:
    port = int((encrypted.folder / "tls-port").read_text())
    done = Tool(encrypted, "q").run("status", "--redis-url", f"rediss://127.0.0.1:{port}")
    assert done.returncode == 1
    assert "not trusted: self-signed certificate; give the authority" in done.stderr
    assert "WORKERPOOL_REDIS_CA_FILE" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot be read: No such file"),
        ("", "cannot be read: Is a directory"),
        ("empty", "holds no certificates in PEM"),
        ("binary", "holds no certificates in PEM"),
    ],
)
def test_a_ca_file_that_is_none_is_named(tool: Tool, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    tool.environ["WORKERPOOL_REDIS_CA_FILE"] = str(tmp_path / name)
    done = tool.run("status", "--redis-url", "rediss://127.0.0.1:1")
    assert done.returncode == 2
    assert str(tmp_path / name) in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ca_of_a_secret_that_is_none_is_named(cluster: Cluster, server: RedisServer) -> None:
    spec = {"url": "rediss://redis.shop.svc:6379/0", "secretRef": {"name": "redis"}}
    cluster.set(
        forward_port=server.port,
        secret={"redis": encoded(**{"ca.crt": "grüße"})},
        **{RESOURCE: {"images": pool_body(queue={"list": "q", "redis": spec})}},
    )
    own = {"KUBECTL": cluster.program, "FAKE_KUBECTL": str(cluster.folder)}
    done = Tool(server, "q", own).run("status", "images")
    assert done.returncode == 2
    assert "ca.crt in the pool's Secret holds no certificates in PEM" in done.stderr


def test_who_speaks_tls_to_a_port_without_it_or_not_to_one_with_it_is_told(
    encrypted: RedisServer, tool: Tool
) -> None:
    with_tls = f"127.0.0.1:{(encrypted.folder / 'tls-port').read_text()}"
    for address, said in (
        (f"redis://{with_tls}", "speaks TLS at this port: write rediss://"),
        (f"rediss://127.0.0.1:{encrypted.port}", "answers without TLS: write redis://"),
    ):
        done = tool.run("status", "--redis-url", address)
        assert done.returncode == 1
        assert f"{address}/0 {said}" in done.stderr
