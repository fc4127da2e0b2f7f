"""All three that ask Sentinels, and a master that only talks to who speaks TLS."""

import asyncio
from pathlib import Path

from integration.cli.conftest import Tool, cluster
from integration.operator.test_reading_behind_sentinels import TIMING, Ears
from support.certificates import make_certificates
from support.pictures import jpeg
from support.readers import running
from support.sentinels import SentinelGroup
from support.supervisor import Supervisor
from unit.cli.stage import Cluster, pool_body
from unit.cli.test_kubectl import encoded
from workerpool_cli.pool import RESOURCE
from workerpool_operator.channel import Credentials
from workerpool_operator.queues import QueueReader
from workerpool_operator.resource import Endpoint

__all__ = ["cluster"]

URL = "rediss://mymaster/0"
SEEN = "queue:seen"


async def test_a_failover_is_followed_over_tls_by_worker_operator_and_tool(
    cluster: Cluster, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path)
    authority = certificates.ca.read_text()
    for name in ("before.jpg", "after.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg())

    async def credentials(_: Endpoint) -> Credentials:
        return Credentials(ca_certificates=authority)

    with SentinelGroup(certificates) as group:
        ears = Ears()
        endpoint = Endpoint(URL, None, tuple(("127.0.0.1", port) for port in group.ports))
        reader = QueueReader(endpoint, ears, credentials, TIMING)
        reader.add(SEEN)
        redis = {"url": URL, "sentinels": group.addresses, "secretRef": {"name": "redis"}}
        body = pool_body(queue={"list": "queue:images", "redis": redis})
        cluster.set(
            secret={"redis": encoded(**{"ca.crt": authority})}, **{RESOURCE: {"images": body}}
        )
        tool = Tool(group.master, "queue:images", {"KUBECTL": cluster.program})
        worker = Supervisor(
            URL,
            tmp_path,
            redis_sentinels=",".join(group.addresses),
            redis_ca_file=str(certificates.ca),
            lease_seconds="15",
        )
        async with running(reader):
            with worker:
                for server, name in ((group.master, "before.jpg"), (group.replica, "after.jpg")):
                    if server is group.replica:
                        group.master.kill()
                        await asyncio.to_thread(group.await_failover)
                    pushed = await asyncio.to_thread(
                        tool.run, "push", "--pool", "images", "--names", "--wait", name
                    )
                    assert pushed.returncode == 0, pushed.stderr
                    assert (tmp_path / "out" / name).exists()
                    server.client().rpush(SEEN, name)
                    await ears.until_waiting(server.client().llen(SEEN))
