"""Logs as JSON lines, metrics, and the health the process serves of itself."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; whatever is passed as `extra` becomes a field."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, object] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {k: v for k, v in vars(record).items() if k not in _STANDARD and k[:1] != "_"}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """For a person's terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def configure_logging(level: str, style: str, converter: Callable[..., object]) -> None:
    """Log to standard error in `style`: json or text. `converter` is `time.gmtime`."""
    handler = logging.StreamHandler(sys.stderr)
    formatter: logging.Formatter = JsonFormatter() if style == "json" else TextFormatter()
    formatter.converter = converter  # type: ignore[assignment]
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiohttp.access", "kopf", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


PoolGauges = Mapping[str, float]
"""Metric suffix → value, of one pool."""


class Metrics:
    """What Prometheus is told; gauges are read from `pools` when it asks."""

    def __init__(self, pools: Callable[[], Mapping[tuple[str, str], PoolGauges]]) -> None:
        # Else each counter is told twice: how much, and since when.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.registry.register(_PoolCollector(pools))
        self.leader = Gauge(
            "workerpool_leader",
            "1 if this operator may write: it holds the lease.",
            registry=self.registry,
        )
        self.decisions = Counter(
            "workerpool_decision",
            "Changes of scale and holds decided, by reason.",
            ["namespace", "pool", "reason"],
            registry=self.registry,
        )
        self.write_failures = Counter(
            "workerpool_write_failures",
            "Writes the API server did not take, by kind.",
            ["kind", "error"],
            registry=self.registry,
        )
        self.reaction = Histogram(
            "workerpool_reaction_seconds",
            "From Redis reporting a change to the scale being written.",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.3, 2.6, 5, 10),
            registry=self.registry,
        )

    async def text(self) -> bytes:
        """Return the exposition, made in turns with whatever else is to be done meanwhile."""
        parts = []
        for metric in self.registry.collect():
            parts.append(generate_latest(_Alone(metric)))
            await asyncio.sleep(0)  # of 2,000 pools the whole takes a quarter of a second
        return b"".join(parts)


class _Alone(Collector):
    """One metric, as the library has no function for one."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


POOL_GAUGES = {
    "waiting": "Jobs on the list that no worker has claimed.",
    "oldest_wait_seconds": "How long the job at the head of the list has waited, as estimated.",
    "due": "Failed jobs whose next attempt is due.",
    "in_flight": "Jobs claimed by a worker and not finished.",
    "desired_replicas": "Worker pods the operator wants.",
    "replicas": "Worker pods the Deployment's spec asks for.",
    "ready_replicas": "Worker pods that are ready.",
    "queue_reachable": "1 if the queue can be read, else 0.",
    "surveyed_workers": "Workers of the pool's pods that told of their cores, at most a sample.",
    "pinned_workers": "Of these, those that may run on one CPU alone.",
    "shared_cores": "Physical cores to which more than one worker is pinned.",
    "external_workers": "Workers of the queue outside the pool's pods.",
    "cpu_steal_ratio": "Worst part of a worker's core that other virtual machines took.",
    "cpu_wait_ratio": "Worst part of a worker's time that it waited for its core.",
    "cpu_throttled_ratio": "Worst part of a worker's time that a CPU quota held it back.",
    "involuntary_switches_per_second": "Worst rate at which a worker had to yield its core.",
    "core_migrations_per_second": "Worst rate at which a worker was moved to another core.",
}
POOL_COUNTERS = {
    "buried": "Jobs put among the dead letters since the queue's counters began.",
    "worker_seconds": "Worker processes asked for, times the seconds they were.",
    "core_seconds": "Cores asked for, times the seconds they were.",
    "cost": "What these cores cost at the operator's price per core-hour.",
}


class _PoolCollector(Collector):
    def __init__(self, pools: Callable[[], Mapping[tuple[str, str], PoolGauges]]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        pools = self._pools()
        for kind, metrics in (
            (GaugeMetricFamily, POOL_GAUGES),
            (CounterMetricFamily, POOL_COUNTERS),
        ):
            for name, words in metrics.items():
                family = kind(f"workerpool_{name}", words, labels=["namespace", "pool"])
                for labels, figures in pools.items():
                    if name in figures:
                        family.add_metric(labels, figures[name])
                yield family


Check = Callable[[], str | None]
"""Returns what is wrong, or `None`."""


class Health:
    """Named checks, one per plane: red when a plane is stuck, not just when the loop is."""

    def __init__(self) -> None:
        self.alive: dict[str, Check] = {}
        self.ready: dict[str, Check] = {}


async def serve(port: int, health: Health, metrics: Metrics) -> web.AppRunner:
    """Serve `/healthz`, `/readyz` and `/metrics`; the caller cleans the runner up."""

    def answer(checks: Mapping[str, Check]) -> web.Response:
        problems = {name: problem for name, check in checks.items() if (problem := check())}
        return web.json_response(problems or {"ok": True}, status=503 if problems else 200)

    async def healthz(_: web.Request) -> web.Response:
        return answer(health.alive)

    async def readyz(_: web.Request) -> web.Response:
        return answer(health.alive | health.ready)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(
            body=await metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", exposition)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
