"""What pools at rest cost an operator: its memory, and its processor time.

The operator is a process of this machine, with the settings that it has by itself, against a real
API server and one real Redis. Its queues are empty, and its Deployments are as it wants them; all
it has left to do is to look at each queue every 30 s, and at its workers. What it costs without a
pool is measured in the same run. Prints one JSON line last.
"""

import argparse
import json
import os
import platform
import time
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector

from support.api_server import ApiServer
from support.operator_process import QUICK, OperatorProcess, install
from support.redis_server import RedisServer
from support.shop import Shop
from support.waiting import eventually

AS_BY_ITSELF = {name: "" for name in QUICK if name.endswith("_SECONDS")}
"""What tests hurry takes its time; there are no nodes here all the same."""
SETTLED_SECONDS = 20.0
"""For what was begun to end: conditions, Events, the memory of a start."""
MOST_SECONDS = 300.0


class Cost(NamedTuple):
    """What an operator takes."""

    megabytes: float
    """Resident memory."""
    cpu_percent: float
    """Of one core, in the mean."""


def main() -> None:
    """Measure an operator without pools and with them, and print what the pools make of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pools", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=90.0, help="measure for so long")
    options = parser.parse_args()
    with ApiServer() as api, RedisServer() as redis:
        install(api)
        with OperatorProcess(api, AS_BY_ITSELF) as operator:
            without = _measure(operator, options.seconds)
            shop = Shop(api, redis.url)
            began = time.monotonic()
            for number in range(options.pools):
                shop.add(f"pool-{number}")
            _await(shop, options.pools)
            ready = time.monotonic() - began
            given = _measure(operator, options.seconds)
    print(f"without pools {without.megabytes:6.1f} MB, {without.cpu_percent:5.2f} % of a core")
    print(f"with {options.pools:>8} {given.megabytes:6.1f} MB, {given.cpu_percent:5.2f} %")
    result = {
        "benchmark": "pools",
        "pools": options.pools,
        "rss_mb": round(given.megabytes, 1),
        "rss_kb_per_pool": round((given.megabytes - without.megabytes) * 1000 / options.pools, 1),
        "cpu_percent": round(given.cpu_percent, 2),
        "cpu_us_per_pool_and_second": round(
            (given.cpu_percent - without.cpu_percent) * 1e4 / options.pools, 1
        ),
        "seconds_until_all_are_decided_upon": round(ready, 1),
        "ran_on": f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}",
    }
    print(json.dumps(result))


def _await(shop: Shop, pools: int) -> None:
    """Wait until each pool is decided upon: its queue was read, its Deployment is written."""
    path = f"/apis/workerpool.dev/v1alpha1/namespaces/{shop.namespace}/workerpools"

    def done() -> bool:
        items = shop.api.request("GET", path).body["items"]
        return sum("desiredReplicas" in (item.get("status") or {}) for item in items) == pools

    eventually(done, f"{pools} pools are decided upon", seconds=MOST_SECONDS, every=1.0)


def _measure(operator: OperatorProcess, seconds: float) -> Cost:
    registry = CollectorRegistry()
    ProcessCollector(pid=lambda: operator.pid, registry=registry)

    def sample(name: str) -> float:
        value = registry.get_sample_value(f"process_{name}")
        assert value is not None, "only Linux tells"
        return value

    time.sleep(SETTLED_SECONDS)
    before, began = sample("cpu_seconds_total"), time.monotonic()
    time.sleep(seconds)
    spent, passed = sample("cpu_seconds_total") - before, time.monotonic() - began
    return Cost(sample("resident_memory_bytes") / 1e6, spent / passed * 100)


if __name__ == "__main__":
    main()
