"""A reader and a real Redis that fails in all the ways a server and a network can."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.fault_proxy import FaultProxy
from support.readers import running
from support.redis_server import RedisServer
from support.redis_stage import RedisStage, redis_stage
from workerpool_operator.channel import Channel, Credentials
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import QueueReader, Timing
from workerpool_operator.resource import Endpoint, Key

QUEUE = "queue:images"
DEADLINE_SECONDS = 60.0
TIMING = Timing(tick=0.05, safety_poll=600, timeout=600)
"""What is found out within the deadline is found out by neither a poll nor a silence."""
HASTY = Timing(tick=0.05, safety_poll=600, timeout=0.3)
"""Where nothing but silence tells."""
SECRET = "secret"  # noqa: S105


class Ears:
    """Keeps the latest reading of each queue, and every trouble."""

    def __init__(self) -> None:
        self.latest: dict[str, Backlog | Unreadable] = {}
        self.troubles: list[str] = []
        self.surveys: dict[str, Survey | Unreadable] = {}
        self.told: list[tuple[str, float]] = []

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        self.latest[queue] = reading
        if isinstance(reading, Unreadable):
            self.troubles.append(reading.reason)
        if told is not None:
            self.told.append((queue, told))
        return False

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        self.surveys[queue] = survey

    async def until(self, what: Callable[["Ears"], object]) -> None:
        """Wait until something was heard, not for ever."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not what(self):
            assert time.monotonic() < deadline, f"latest: {self.latest}, {self.troubles[-5:]}"
            await asyncio.sleep(0.005)

    async def until_read(self, waiting: int) -> None:
        """Wait until the queue is read with this many jobs."""
        await self.until(lambda ears: ears.latest.get(QUEUE) == Backlog(waiting))

    async def until_trouble(self, reason: str) -> None:
        """Wait until the queue is reported unreadable for this reason."""
        await self.until(
            lambda ears: (
                isinstance(reading := ears.latest.get(QUEUE), Unreadable)
                and reading.reason == reason
            )
        )


@contextlib.asynccontextmanager
async def reading(
    ears: Ears,
    url: str,
    secret: dict[str, str | None] | None = None,
    timing: Timing = TIMING,
) -> AsyncIterator[QueueReader]:
    async def credentials(_: Endpoint) -> Credentials:
        entries = secret or {}
        return Credentials(entries.get("username"), entries.get("password"), entries.get("ca.crt"))

    reader = QueueReader(Endpoint(url, Key("shop", "redis")), ears, credentials, timing)
    reader.add(QUEUE)
    async with running(reader):
        yield reader


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
async def proxy(stage: RedisStage) -> AsyncIterator[FaultProxy]:
    """Return a network between the reader and Redis."""
    async with FaultProxy(stage.server.port) as proxy:
        yield proxy


# --- a network that forgets


async def test_a_half_open_connection_is_found_by_asking_and_replaced(
    ears: Ears, stage: RedisStage, proxy: FaultProxy
) -> None:
    """Redis' word of a change would never arrive, and nobody would ever say so."""
    patient = Timing(tick=0.05, safety_poll=600, timeout=2)
    async with reading(ears, proxy.redis_url, timing=patient):
        for waiting in range(3):
            await ears.until_read(waiting)
            proxy.strand()
            stage.client.rpush(QUEUE, b"{}")
        await ears.until_read(3)


# --- a server that goes away


async def test_a_killed_redis_is_unreadable_at_once_and_read_again_when_it_is_back(
    ears: Ears,
) -> None:
    with redis_stage(appendonly="yes") as stage:
        async with reading(ears, stage.server.url):
            await ears.until_read(0)
            stage.client.rpush(QUEUE, b"1", b"2")
            await ears.until_read(2)
            stage.server.kill()
            await ears.until_trouble("Unreachable")

            await asyncio.to_thread(stage.server.start)
            await ears.until_read(2)
            stage.client.rpush(QUEUE, b"3")
            await ears.until_read(3)


async def test_many_restarts_in_a_row_lose_no_change(ears: Ears) -> None:
    with redis_stage(appendonly="yes") as stage:
        async with reading(ears, stage.server.url):
            for count in range(1, 6):
                await asyncio.to_thread(stage.server.restart)
                stage.client.rpush(QUEUE, b"job")
                await ears.until_read(count)


async def test_a_redis_that_is_loading_is_waited_for_without_a_storm(ears: Ears) -> None:
    options = {
        "enable-debug-command": "local",
        "loading-process-events-interval-bytes": "1024",
        "save": "3600 1",
    }
    with redis_stage(**options) as stage:
        with stage.client.pipeline() as pipeline:
            for number in range(5_000):
                pipeline.set(f"key-{number}", "x")
            pipeline.rpush(QUEUE, b"job")
            pipeline.execute()
        # Microseconds: six seconds for all, and no answer for a tenth of one.
        stage.client.config_set("key-load-delay", 1200)
        stage.client.config_resetstat()
        reloading = asyncio.create_task(
            asyncio.to_thread(stage.client.execute_command, "DEBUG", "RELOAD")
        )
        async with reading(ears, stage.server.url):
            await ears.until_trouble("Loading")
            await ears.until_read(1)
            await reloading
        attempts = stage.client.info("commandstats")["cmdstat_hello"]["calls"]
        assert attempts < 20, "each attempt to connect costs the server time that it needs"


# --- a server or a network that stalls


async def test_a_frozen_redis_is_unreadable_and_read_again_when_it_thaws(ears: Ears) -> None:
    with redis_stage() as stage:
        async with reading(ears, stage.server.url, timing=HASTY):
            await ears.until_read(0)
            with stage.frozen():
                await ears.until_trouble("Unreachable")
            stage.client.rpush(QUEUE, b"job")
            await ears.until_read(1)


async def test_a_connection_that_swallows_everything_is_found_out(
    stage: RedisStage, proxy: FaultProxy, ears: Ears
) -> None:
    """A half-open connection: nothing ends it, and an idle queue expects no word."""
    async with reading(ears, proxy.redis_url, timing=HASTY):
        await ears.until_read(0)
        proxy.stall()
        stage.client.rpush(QUEUE, b"job")
        await ears.until_trouble("Unreachable")
        proxy.flow()
        await ears.until_read(1)


async def test_connections_that_are_cut_again_and_again_are_no_news(
    stage: RedisStage, proxy: FaultProxy, ears: Ears
) -> None:
    async with reading(ears, proxy.redis_url):
        await ears.until_read(0)
        for count in range(1, 11):
            proxy.cut()
            stage.client.rpush(QUEUE, b"job")
            await ears.until_read(count)
    assert ears.troubles == []
    assert proxy.accepted == 11


async def test_a_proxy_without_a_server_behind_it_is_not_stormed(
    proxy: FaultProxy, ears: Ears
) -> None:
    async with reading(ears, proxy.redis_url):
        await ears.until_read(0)
        proxy.refuse()
        await ears.until(lambda ears: len(ears.troubles) >= 5)
        proxy.flow()
        await ears.until_read(0)
        assert set(ears.troubles) == {"Unreachable"}


async def test_the_end_of_a_reader_during_a_stall_leaves_no_connection(
    proxy: FaultProxy, ears: Ears
) -> None:
    proxy.stall()
    async with reading(ears, proxy.redis_url):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not proxy.open:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
    proxy.flow()
    while proxy.open:
        assert time.monotonic() < deadline, "the connection outlived its reader"
        await asyncio.sleep(0.005)


# --- credentials


async def test_a_rotated_password_is_found_at_the_next_connection(
    stage: RedisStage, ears: Ears
) -> None:
    stage.require("old")
    secret: dict[str, str | None] = {"password": "old"}
    async with reading(ears, stage.server.url, secret):
        await ears.until_read(0)
        stage.require("new")
        stage.client.rpush(QUEUE, b"job")
        await ears.until_read(1)
        stage.cut()
        await ears.until_trouble("AuthenticationFailed")

        secret["password"] = "new"  # noqa: S105
        await ears.until_read(1)


async def test_rights_that_are_granted_later_are_found_without_a_restart(
    stage: RedisStage, ears: Ears
) -> None:
    least = ["+llen", "+zcard", "+zcount", "+hmget", "+time", "~*"]
    stage.user("reader", SECRET, [*least, "-llen"])
    async with reading(ears, stage.server.url, {"username": "reader", "password": SECRET}):
        await ears.until_trouble("PermissionDenied")
        stage.client.rpush(QUEUE, b"job")
        stage.user("reader", SECRET, least)
        await ears.until_read(1)


async def test_without_tracking_ticks_find_every_change(stage: RedisStage, ears: Ears) -> None:
    stage.refuse_tracking()
    async with reading(ears, stage.server.url):
        for count in range(1, 6):
            stage.client.rpush(QUEUE, b"job")
            await ears.until_read(count)
    assert ears.told == []


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, a server's certificate of it, and a stranger."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name, signed in (
        ("ca", []),
        ("stranger", []),
        ("server", ["-CA", "ca.crt", "-CAkey", "ca.key"]),
    ):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}"]
        if signed:
            files += ["-addext", "subjectAltName=IP:127.0.0.1"]
            files += ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(
            ["openssl", "req", "-x509", *key, *files, *signed],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=30,
        )
    return folder


class TlsRedis:
    """A redis-server that speaks TLS on a second port."""

    def __init__(self, stage: RedisStage, port: int) -> None:
        self.stage = stage
        self.url = f"rediss://127.0.0.1:{port}/0"


@pytest.fixture
def tls(stage: RedisStage, certificates: Path) -> TlsRedis:
    with RedisServer() as free:
        port = free.port
    stage.client.config_set(
        "tls-cert-file",
        str(certificates / "server.crt"),
        "tls-key-file",
        str(certificates / "server.key"),
        "tls-ca-cert-file",
        str(certificates / "ca.crt"),
        "tls-auth-clients",
        "no",
        "tls-port",
        port,
    )
    return TlsRedis(stage, port)


async def test_a_certificate_of_the_secrets_authority_is_trusted(
    tls: TlsRedis, certificates: Path, ears: Ears
) -> None:
    authority = (certificates / "ca.crt").read_text()
    async with reading(ears, tls.url, {"ca.crt": authority}):
        await ears.until_read(0)
        tls.stage.client.rpush(QUEUE, b"job")
        await ears.until_read(1)
        assert len(ears.told) == 1, "changes are told over TLS as well"


@pytest.mark.parametrize("trusted", [None, "stranger.crt"])
async def test_a_certificate_of_nobody_known_is_refused(
    tls: TlsRedis, certificates: Path, ears: Ears, trusted: str | None
) -> None:
    authority = (certificates / trusted).read_text() if trusted else None
    async with reading(ears, tls.url, {"ca.crt": authority}):
        # An attempt before may have had no answer in time, on a busy machine.
        await ears.until(lambda ears: "certificate" in str(ears.latest.get(QUEUE)).lower())
        assert set(ears.troubles) == {"Unreachable"}


@pytest.mark.parametrize("authority", ["no PEM at all", "Größe"])
async def test_an_authority_that_is_no_certificate_is_a_trouble_and_no_end(
    tls: TlsRedis, ears: Ears, authority: str
) -> None:
    async with reading(ears, tls.url, {"ca.crt": authority}):
        await ears.until(lambda ears: len(ears.troubles) > 2)
        assert set(ears.troubles) == {"Unreachable"}


async def test_tls_where_none_is_spoken_is_a_trouble(stage: RedisStage, ears: Ears) -> None:
    async with reading(ears, stage.server.url.replace("redis://", "rediss://"), timing=HASTY):
        await ears.until_trouble("Unreachable")


# --- ending


@pytest.mark.parametrize("secured", [False, True])
async def test_a_reader_ends_whatever_it_is_doing(
    stage: RedisStage, tls: TlsRedis, certificates: Path, ears: Ears, *, secured: bool
) -> None:
    authority = (certificates / "ca.crt").read_text()
    address = tls.url if secured else stage.server.url
    for steps in range(150):
        async with reading(ears, address, {"ca.crt": authority}):
            for _ in range(steps):
                await asyncio.sleep(0)
    stage.cut()
    await ears.until(lambda _: not stage.connections())


async def test_a_connection_ends_though_a_frozen_redis_says_no_goodbye(
    tls: TlsRedis, certificates: Path
) -> None:
    authority = (certificates / "ca.crt").read_text()
    before = _sockets()
    channel = Channel(tls.url, Credentials(ca_certificates=authority), timeout=DEADLINE_SECONDS)
    await channel.open(lambda _: None)
    with tls.stage.server.frozen():
        await channel.close()
        await asyncio.sleep(0)  # the loop closes a socket in its next turn
        assert _sockets() <= before


def _sockets() -> set[str]:
    """Return the sockets that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("socket:")}


# --- what it costs


async def test_a_thousand_idle_queues_cost_nothing_but_pings(
    stage: RedisStage, ears: Ears
) -> None:
    timing = Timing(tick=0.05, safety_poll=600, timeout=10)
    async with reading(ears, stage.server.url, timing=timing) as reader:
        for number in range(999):
            reader.add(f"queue-{number}")
        await ears.until(lambda ears: list(ears.latest.values()).count(Backlog(0)) == 1_000)
        await ears.until(lambda _: len(stage.connections()) == 1)
        before, began = _calls(stage), time.monotonic()
        await ears.until(lambda _: _calls(stage).get("ping", 0) > before.get("ping", 0))
        seconds, after = time.monotonic() - began, _calls(stage)

    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert {name for name, count in grown.items() if count} <= {"ping", "info"}
    assert grown["ping"] <= 1 + seconds / timing.timeout


def _calls(stage: RedisStage) -> dict[str, int]:
    statistics = stage.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): s["calls"] for name, s in statistics.items()}


async def test_of_a_thousand_queues_only_the_one_that_changed_is_read(
    stage: RedisStage, ears: Ears
) -> None:
    async with reading(ears, stage.server.url) as reader:
        for number in range(999):
            reader.add(f"queue-{number}")
        await ears.until(lambda ears: list(ears.latest.values()).count(Backlog(0)) == 1_000)
        before = _calls(stage)["hmget"]
        stage.client.rpush(QUEUE, b"job")
        await ears.until_read(1)
        assert _calls(stage)["hmget"] == before + 1
