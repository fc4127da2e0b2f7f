"""Puts the operator together and runs it: `python -m workerpool_operator`."""

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from workerpool_operator import telemetry
from workerpool_operator.channel import Credentials
from workerpool_operator.cluster import Cluster, LeaseInCluster, connect
from workerpool_operator.errors import ApplyFailed, ConfigError, NotFound
from workerpool_operator.lease import Elector
from workerpool_operator.queues import CredentialSource
from workerpool_operator.reconcile import RETIREMENT_REQUESTS, Reconciler
from workerpool_operator.registry import Registry
from workerpool_operator.resource import Endpoint, Key
from workerpool_operator.settings import Settings, read_settings
from workerpool_operator.watch import Watch

log = logging.getLogger("workerpool_operator")

STUCK_SECONDS = 60.0
"""A plane that made no progress for so long is stuck."""


def main() -> int:
    """Run until told to stop; return the exit status."""
    try:
        settings = read_settings(os.environ)
        telemetry.configure_logging(settings.log_level, settings.log_format, time.gmtime)
        asyncio.run(run(settings))
    except ConfigError as error:
        sys.stderr.write(f"workerpool-operator cannot start:\n{error}\n")
        return 2
    except ApplyFailed as error:
        log.error("%s", error)  # noqa: TRY400  the words say it all
        return 1
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:
        log.info("told to stop before it began")
    return 0


async def run(settings: Settings) -> None:
    """Start the planes, in the order in which they need each other; end with kopf."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in one
    # Until kopf takes the signals over: the kernel ignores those that a container's first
    # process does not ask for.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        cluster = await connect(
            request_seconds=settings.request_timeout_seconds,
            connections=settings.max_writes_in_flight + RETIREMENT_REQUESTS + 4,
        )
        stack.push_async_callback(cluster.close)
        elector = _elector(cluster, settings)
        registry = Registry()
        watch = Watch(cluster, registry, settings)
        reconciler = Reconciler(
            registry, cluster, settings, lambda: datetime.now(UTC), _credential_source(cluster)
        )
        health = telemetry.Health()
        listed = False
        health.ready["watch"] = lambda: None if listed else "the pools are not listed yet"
        health.alive["poll"] = lambda: reconciler.subscriptions.stuck(STUCK_SECONDS)
        health.alive["write"] = lambda: (
            "writes are stuck" if reconciler.writer.slowest_seconds() > STUCK_SECONDS else None
        )
        if elector is not None:
            cluster.write_seconds = elector.write_seconds
            health.alive["lease"] = lambda: elector.stuck(STUCK_SECONDS)
        reconciler.metrics.leader.set_function(lambda: cluster.write_seconds() > 0)
        try:
            server = await telemetry.serve(settings.http_port, health, reconciler.metrics)
        except OSError as error:
            raise ConfigError(f"WORKERPOOL_HTTP_PORT={settings.http_port}: {error}") from error
        stack.push_async_callback(server.cleanup)

        await _first_sweep(watch)
        listed = True
        stack.push_async_callback(reconciler.stop)
        ended = asyncio.Event()
        work = {
            "sweep": watch.sweep_for_ever(reconciler.heal),
            "lead": _lead(reconciler, elector, ended),
        }
        if elector is not None:
            work["lease"] = elector.run()
        # Before kopf begins: it takes what is begun later for its own, and cancels it in the end.
        for name, coroutine in work.items():
            stack.callback(asyncio.create_task(coroutine, name=name).cancel)
        log.info("started", extra={"pools": len(list(registry.pools))})

        async def stop() -> None:
            log.info("stopping")
            await reconciler.stop()
            if elector is not None:
                await elector.release()
            await server.cleanup()

        await watch.run(stop, ended)


def _elector(cluster: Cluster, settings: Settings) -> Elector | None:
    """Return who runs for the lease; nobody does outside of a pod."""
    if not settings.pod_namespace:
        log.warning("POD_NAMESPACE is not set: leading without a lease; run one operator only")
        return None
    return Elector(
        LeaseInCluster(cluster, Key(settings.pod_namespace, settings.leader_lease_name)),
        identity=settings.pod_name,
        seconds=settings.leader_lease_seconds,
        # It goes on while the machine is suspended, as the others' clocks do.
        clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        wall_clock=lambda: datetime.now(UTC),
    )


async def _lead(reconciler: Reconciler, elector: Elector | None, ended: asyncio.Event) -> None:
    """Begin to read queues and to write as soon as this operator leads; end when it lost that."""
    try:
        if elector is None:
            reconciler.start()
            return
        await elector.elected.wait()
        reconciler.start()
        await elector.lost.wait()
    except Exception:  # the edge of a task: who leads and does nothing must not go on leading
        log.exception("leading failed unexpectedly")
    ended.set()  # started anew, it is a standby that knows nothing outdated


async def _first_sweep(watch: Watch) -> None:
    """List everything once before anything is decided; wait for the CRD and the server."""
    while True:
        try:
            return await watch.sweep()
        except NotFound:
            log.error(  # noqa: TRY400  the words say it all
                "the WorkerPool CRD is not installed: kubectl apply -f manifests/crd.yaml"
            )
        except ApplyFailed as error:
            log.error("cannot list the pools yet: %s", error)  # noqa: TRY400  likewise
        await asyncio.sleep(1)


def _credential_source(cluster: Cluster) -> CredentialSource:
    async def read(endpoint: Endpoint) -> Credentials:
        if endpoint.secret is None:
            return Credentials()
        entries = await cluster.read_secret(endpoint.secret)
        return Credentials(entries.get("username"), entries.get("password"), entries.get("ca.crt"))

    return read


if __name__ == "__main__":
    sys.exit(main())
