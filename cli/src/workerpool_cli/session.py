"""From the command line's options to an open queue.

The one place that knows the order of precedence: a named pool, then --redis-url, then the
environment; --redis-url may also replace only the address of a pool's Redis.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TextIO

from workerpool_cli import address, sentinels
from workerpool_cli.address import PREFIX, Address, Target
from workerpool_cli.console import Console
from workerpool_cli.errors import UsageError
from workerpool_cli.forward import forwarded
from workerpool_cli.keys import keys_of
from workerpool_cli.kubectl import Kubectl
from workerpool_cli.link import Link
from workerpool_cli.pool import Pool
from workerpool_cli.queues import Queue

DEFAULT_QUEUE = "queue:images"
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, slots=True)
class World:
    """All that the tool takes from its process."""

    environ: Mapping[str, str]
    stdin: TextIO
    console: Console
    clock: Callable[[], float]
    pause: Callable[[float], None]
    within: Callable[[float | None], AbstractContextManager[None]]
    """Raises TimeIsUp in the middle of what takes longer, however it waits."""

    @property
    def can_ask(self) -> bool:
        """Whether a person sits at the other end."""
        return self.stdin.isatty() and self.console.err_is_live

    def confirms(self, question: str) -> bool:
        """Ask that person."""
        self.console.ask(f"{question} [y/N] ")
        return self.stdin.readline().strip().lower() in {"y", "yes"}


@dataclass(frozen=True, slots=True)
class Session:
    """An open queue, and the pool it was found by."""

    queue: Queue
    where: str
    """The address, fit to be shown."""
    kubectl: Kubectl
    pool: Pool | None


@contextmanager
def opened(options: argparse.Namespace, world: World) -> Iterator[Session]:
    """Find the queue and hold the way to it open."""
    kubectl = kubectl_of(options, world)
    with ExitStack() as stack:
        pool = kubectl.pool(options.pool) if options.pool else None
        list_name = _list_name(options, world, pool)
        found = _address(options, world, kubectl, pool)
        if pool is not None and not options.redis_url:
            way = _Way(kubectl, pool, world)
            if pool.sentinels:
                found = way.to_master(found)
            found = stack.enter_context(way.reached(found))
        link = Link(found)
        stack.callback(link.close)
        yield Session(Queue(link, keys_of(list_name)), found.url, kubectl, pool)


class _Way:
    """Leads from here to where a pool's addresses mean something."""

    def __init__(self, kubectl: Kubectl, pool: Pool, world: World) -> None:
        self._kubectl = kubectl
        self._pool = pool
        self._clock = world.clock
        self._inside = IN_CLUSTER in world.environ
        self._pods: dict[str, Target] = {}

    @contextmanager
    def reached(self, where: Address) -> Iterator[Address]:
        """Hold a port-forward open, if it takes one."""
        target = self._pods.get(where.url) or self._target(where)
        if target is None:
            yield where
            return
        with forwarded(self._kubectl, target, self._clock) as port:
            yield replace(where, local_port=port)

    def to_master(self, found: Address) -> Address:
        """Ask the pool's Sentinels where the master is."""
        asked = [address.sentinel(words) for words in self._pool.sentinels]
        host, port = sentinels.master(address.master_of(self._pool.redis_url), asked, self.reached)
        found = address.moved(found, host, port)
        beside = next(filter(None, map(self._target, asked)), None)
        # Sentinels inside the cluster name a pod, by an address that leads nowhere from here.
        if beside is not None and self._target(found) is None:
            pod = self._kubectl.pod_at(beside.namespace, host)
            if pod is not None:
                self._pods[found.url] = Target("pod", beside.namespace, pod, port)
        return found

    def _target(self, where: Address) -> Target | None:
        return None if self._inside else address.target_of(where, self._pool.namespace)


def kubectl_of(options: argparse.Namespace, world: World) -> Kubectl:
    """Point kubectl to where the options say."""
    return Kubectl(
        program=world.environ.get("KUBECTL") or "kubectl",
        namespace=options.namespace,
        context=options.context,
        kubeconfig=options.kubeconfig,
    )


def _list_name(options: argparse.Namespace, world: World, pool: Pool | None) -> str:
    asked: str | None = options.queue
    if pool is not None:
        if asked is not None and asked != pool.list:
            raise UsageError(
                f"--queue {asked} and the pool {pool.name} disagree: the pool's list is "
                f"{pool.list}; leave one of them out"
            )
        return pool.list
    return asked or world.environ.get(f"{PREFIX}QUEUE") or DEFAULT_QUEUE


def _address(
    options: argparse.Namespace, world: World, kubectl: Kubectl, pool: Pool | None
) -> Address:
    if options.redis_url:
        found = address.parse(options.redis_url, "--redis-url")
    elif pool is not None:
        found = address.parse(pool.redis_url, f"spec.queue.redis.url of the pool {pool.name}")
    elif url := world.environ.get(f"{PREFIX}REDIS_URL"):
        found = address.parse(url, f"{PREFIX}REDIS_URL")
    else:
        raise UsageError(
            f"which Redis? Name a pool (--pool NAME), or give --redis-url {address.EXAMPLE}, or "
            f"set {PREFIX}REDIS_URL"
        )
    if pool is None:
        return address.completed(
            found,
            username=world.environ.get(f"{PREFIX}REDIS_USERNAME"),
            password=world.environ.get(f"{PREFIX}REDIS_PASSWORD"),
            password_from=f"{PREFIX}REDIS_PASSWORD",
            ca_file=world.environ.get(f"{PREFIX}REDIS_CA_FILE"),
        )
    # Who gave a password with --redis-url need not be able to read Secrets.
    entries = {}
    if pool.secret is not None and found.password is None:
        entries = kubectl.secret(pool.namespace, pool.secret)
    return address.completed(
        found,
        username=entries.get("username"),
        password=entries.get("password"),
        password_from=f"the Secret {pool.secret} of the namespace {pool.namespace}",
        ca_pem=entries.get("ca.crt"),
    )
