"""Logs, metrics and health, over a real socket where there is one."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from workerpool_operator import telemetry
from workerpool_operator.telemetry import Health, JsonFormatter, Metrics


def line(record: logging.LogRecord) -> dict[str, object]:
    formatter = JsonFormatter()
    formatter.converter = time.gmtime
    text = formatter.format(record)
    assert "\n" not in text
    fields: dict[str, object] = json.loads(text)
    return fields


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord(
        "test", logging.WARNING, __file__, 1, message, args, None, extra=extra
    )


def test_a_log_line_is_one_json_object_with_the_extra_fields() -> None:
    entry = record("scaled %s", "up", pool="shop/images", to=20)
    entry.created, entry.msecs = 1_700_000_000.5, 7.0

    assert line(entry) == {
        "time": "2023-11-14T22:13:20.007Z",
        "level": "warning",
        "logger": "test",
        "message": "scaled up",
        "pool": "shop/images",
        "to": 20,
    }


def test_an_exception_stays_on_its_line() -> None:
    entry = record("failed")
    try:
        int("a\nb")
    except ValueError as error:
        entry.exc_info = (type(error), error, error.__traceback__)

    fields = line(entry)

    assert "ValueError: invalid literal" in str(fields["exception"])


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert line(record("x", slot=("shop", {1})))["slot"] == ["shop", "{1}"]


Gauges = dict[tuple[str, str], Mapping[str, float]]


async def samples(metrics: Metrics) -> list[str]:
    lines = (await metrics.text()).decode().splitlines()
    return [text for text in lines if not text.startswith("#")]


async def test_gauges_are_those_of_the_pools_there_are_now() -> None:
    pools: Gauges = {("shop", "images"): {"waiting": 12, "queue_reachable": 1}}
    metrics = Metrics(lambda: pools)

    before = await samples(metrics)
    pools.clear()

    assert 'workerpool_waiting{namespace="shop",pool="images"} 12.0' in before
    assert 'workerpool_queue_reachable{namespace="shop",pool="images"} 1.0' in before
    assert not any(text.startswith("workerpool_ready_replicas{") for text in before)
    assert not any("images" in text for text in await samples(metrics)), (
        "a deleted pool leaves nothing"
    )


async def test_every_metric_is_explained() -> None:
    text = (await Metrics(dict).text()).decode()

    counted = ("decision_total", "write_failures_total", "reaction_seconds")
    totals = (f"{name}_total" for name in telemetry.POOL_COUNTERS)
    for name in (*telemetry.POOL_GAUGES, *totals, *counted):
        assert f"# HELP workerpool_{name} " in text


async def test_a_counter_is_told_once() -> None:
    metrics = Metrics(dict)
    metrics.decisions.labels(namespace="shop", pool="images", reason="Backlog").inc()

    of_the_pool = [text for text in await samples(metrics) if "images" in text]

    assert of_the_pool == [
        'workerpool_decision_total{namespace="shop",pool="images",reason="Backlog"} 1.0'
    ]


async def test_others_have_their_turn_while_many_pools_are_told_of() -> None:
    metrics = Metrics(lambda: {("shop", "images"): {"waiting": 1}})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    text = (await metrics.text()).decode()
    task.cancel()

    assert turns >= text.count("# TYPE ") > len(telemetry.POOL_GAUGES)


@pytest.fixture
async def health() -> Health:
    return Health()


@pytest.fixture
async def address(health: Health) -> AsyncIterator[str]:
    runner = await telemetry.serve(0, health, Metrics(dict))
    host, port = runner.addresses[0][:2]
    yield f"http://{'127.0.0.1' if host == '0.0.0.0' else f'[{host}]'}:{port}"  # noqa: S104
    await runner.cleanup()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_without_problems_all_is_well(address: str) -> None:
    assert await get(f"{address}/healthz") == (200, '{"ok": true}')
    assert await get(f"{address}/readyz") == (200, '{"ok": true}')


async def test_a_plane_that_is_not_ready_does_not_end_the_process(
    address: str, health: Health
) -> None:
    health.ready["watch"] = lambda: "not listed yet"

    assert (await get(f"{address}/healthz"))[0] == 200
    assert await get(f"{address}/readyz") == (503, '{"watch": "not listed yet"}')


async def test_a_stuck_plane_is_neither_alive_nor_ready(address: str, health: Health) -> None:
    health.alive["poll"] = lambda: "stuck"
    health.alive["write"] = lambda: None

    assert await get(f"{address}/healthz") == (503, '{"poll": "stuck"}')
    assert await get(f"{address}/readyz") == (503, '{"poll": "stuck"}')


async def test_metrics_are_served_as_prometheus_wants_them(address: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "# TYPE workerpool_waiting gauge" in await answer.text()
