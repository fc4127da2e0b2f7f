"""Observe → decide → write, for every pool, whenever anything about it changes.

The place where the planes meet: the registry says what pools and Deployments there are, readers
say how long the queues are, `decide` says what follows, the writer carries it out. Nothing here
waits: each call takes one fact in and hands at most a few writes over.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeGuard

from workerpool_operator import workload
from workerpool_operator.cluster import Cluster
from workerpool_operator.decide import decide
from workerpool_operator.errors import ApplyFailed, Conflict, NotFound, Unreadable
from workerpool_operator.learn import NOTHING, Learnt, learn
from workerpool_operator.model import Backlog, Decision, History, Observation, Reason
from workerpool_operator.queues import CredentialSource, QueueReader, Timing
from workerpool_operator.registry import (
    DeploymentRecord,
    PoolRecord,
    Registry,
    deployment_record,
    version_of,
)
from workerpool_operator.report import Document, Situation, event_document, status_document
from workerpool_operator.resource import Endpoint, Key, Pool
from workerpool_operator.settings import Settings
from workerpool_operator.telemetry import Metrics
from workerpool_operator.writer import Priority, Writer

log = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
"""A pool's status is written at most this often."""

Clock = Callable[[], datetime]


@dataclass(slots=True)
class _State:
    """What is remembered of one pool between two calls."""

    record: PoolRecord
    manifest: Document | None = None
    """The Deployment as the pool wants it; `None` if the pool is invalid."""
    reader: "_Subscription | None" = None
    reading: Backlog | Unreadable | None = None
    history: History = ()
    learnt: Learnt = NOTHING
    decision: Decision | None = None
    scaling_to: int | None = None
    """The count of a scale write that waits or is under way."""
    scaled_at: datetime | None = None
    applying: str = ""
    """The digest of the manifest whose apply waits or is under way."""
    live: str = ""
    """The digest of the Deployment's spec after the last apply: a difference is an edit."""
    troubles: dict[str, ApplyFailed] = field(default_factory=dict)
    """Why a kind of write fails, while it does."""
    reported: Document | None = None
    reported_at: float = float("-inf")
    report_timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _Subscription:
    """Which list on which endpoint a pool follows."""

    endpoint: Endpoint
    queue: str


class _EndpointListener:
    """Names the endpoint whose reader speaks."""

    def __init__(self, reconciler: "Reconciler", endpoint: Endpoint) -> None:
        self._reconciler = reconciler
        self._endpoint = endpoint

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        return self._reconciler.on_reading(_Subscription(self._endpoint, queue), reading, told)


class Reconciler:
    """Keeps every pool's Deployment as large as its queue asks for."""

    def __init__(
        self,
        registry: Registry,
        cluster: Cluster,
        settings: Settings,
        clock: Clock,
        credentials: CredentialSource,
    ) -> None:
        self._registry = registry
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._credentials = credentials
        self._timing = Timing(
            settings.tick_seconds, settings.safety_poll_seconds, settings.request_timeout_seconds
        )
        self._states: dict[Key, _State] = {}
        self._followers: dict[_Subscription, set[Key]] = {}
        self._readers: dict[Endpoint, tuple[QueueReader, asyncio.Task[None]]] = {}
        self._event_numbers = itertools.count()
        self.metrics = Metrics(self._gauges)
        self.writer = Writer(limit=settings.max_writes_in_flight, failed=self._write_failed)

    def start(self) -> None:
        """Take in what the registry knows already, and listen from now on."""
        self._registry.listen(self.pool_changed)
        for record in list(self._registry.pools):
            self.pool_changed(record.key)

    async def stop(self) -> None:
        """Stop reading, and finish the writes that are under way."""
        for _, task in self._readers.values():
            task.cancel()
        await asyncio.gather(*(t for _, t in self._readers.values()), return_exceptions=True)
        await self.writer.close()

    def stuck_reader(self, seconds: float) -> str | None:
        """Name an endpoint whose reader made no progress for `seconds`, if there is one."""
        now = asyncio.get_running_loop().time()
        for endpoint, (reader, task) in self._readers.items():
            if task.done() or now - reader.progress_at > seconds:
                return f"the reader of {endpoint.url} is stuck"
        return None

    # --- facts coming in

    def pool_changed(self, key: Key) -> None:
        """Take in what the registry knows of a pool and its Deployment now."""
        record = self._registry.pool(key)
        state = self._states.get(key)
        if state is not None and (record is None or record.uid != state.record.uid):
            self._forget(key, state)
            state = None
        if record is None:
            return
        if state is None:
            state = self._states[key] = _State(record, reported=dict(record.status))
        edited = state.record.generation != record.generation
        if state.record is not record or state.manifest is None:
            state.record, state.manifest = record, self._manifest(record)
        self._follow(key, state)
        if edited and state.reader is not None:  # a new policy may call for ticks at once
            self._readers[state.reader.endpoint][0].poke(state.reader.queue)
        if record.pool is not None and state.manifest is not None:
            self._ensure_workload(record.pool, state, state.manifest)
        self._decide(key, state, told=None)
        self._report(key, state)

    def heal(self) -> None:
        """Try again what no event would: pools that have no Deployment."""
        for key in [k for k in self._states if self._registry.deployment(k) is None]:
            self.pool_changed(key)  # what is under way, or failed and waits, is not doubled

    def on_reading(
        self, source: _Subscription, reading: Backlog | Unreadable, told: float | None
    ) -> bool:
        """Take in a queue's length; answer whether it should be read again soon."""
        moves = False
        for key in list(self._followers.get(source, ())):
            state = self._states[key]
            self._note_reachability(state, reading)
            state.reading = reading
            if isinstance(reading, Backlog):
                state.learnt = learn(state.learnt, self._clock(), reading)
            self._decide(key, state, told=told)
            self._report(key, state)
            moves = moves or self._moves(key, state)
        return moves

    def _note_reachability(self, state: _State, reading: Backlog | Unreadable) -> None:
        """Tell of the moment a queue is lost or found; in between there is nothing to tell."""
        before = state.reading
        if isinstance(reading, Unreadable) and not isinstance(before, Unreadable):
            note = f"{reading}. The replicas are held."
            self._event(state.record, "QueueUnreachable", note, warning=True)
        elif isinstance(reading, Backlog) and isinstance(before, Unreadable):
            self._event(state.record, "QueueReachable", "The queue can be read again.")

    def _moves(self, key: Key, state: _State) -> bool:
        """Return whether anything may happen that Redis would not report by itself.

        It reports the list alone. Work under way, retries that will be due, replicas above
        their resting count and workers that outlived their pods are looked after by ticks.
        """
        backlog, pool = state.reading, state.record.pool
        deployment = self._registry.deployment(key)
        if not isinstance(backlog, Backlog) or pool is None or deployment is None:
            return True
        leftover = backlog.workers > 0 and deployment.replicas == 0
        above = deployment.replicas > pool.policy.min_replicas and not pool.policy.paused
        return bool(backlog.jobs or backlog.scheduled or leftover or above)

    # --- following queues

    def _follow(self, key: Key, state: _State) -> None:
        pool = state.record.pool
        wanted = _Subscription(pool.endpoint, pool.queue) if pool else None
        if wanted == state.reader:
            return
        self._unfollow(key, state)
        state.reader = wanted
        if wanted is None:
            return
        self._followers.setdefault(wanted, set()).add(key)
        if wanted.endpoint not in self._readers:
            reader = QueueReader(
                wanted.endpoint,
                _EndpointListener(self, wanted.endpoint),
                self._credentials,
                self._timing,
            )
            reader.progress_at = asyncio.get_running_loop().time()
            task = asyncio.create_task(reader.run(), name=f"reader {wanted.endpoint.url}")
            self._readers[wanted.endpoint] = reader, task
        reader, _ = self._readers[wanted.endpoint]
        reader.add(wanted.queue)
        reader.poke(wanted.queue)

    def _unfollow(self, key: Key, state: _State) -> None:
        old, state.reader = state.reader, None
        state.reading, state.history, state.decision = None, (), None
        state.learnt = NOTHING
        if old is None:
            return
        followers = self._followers[old]
        followers.discard(key)
        if followers:
            return
        del self._followers[old]
        reader, task = self._readers[old.endpoint]
        reader.discard(old.queue)
        if not any(True for _ in reader.queues):
            task.cancel()
            del self._readers[old.endpoint]

    def _forget(self, key: Key, state: _State) -> None:
        """A deleted pool: its Deployment is the garbage collector's."""
        self._unfollow(key, state)
        if state.report_timer is not None:
            state.report_timer.cancel()
        for kind in ("workload", "scale", "status"):
            self.writer.discard((key, kind))
        for reason in Reason:
            with suppress(KeyError):
                self.metrics.decisions.remove(key.namespace, key.name, str(reason))
        del self._states[key]
        log.info("pool deleted", extra={"pool": str(key)})

    # --- the Deployment

    def _manifest(self, record: PoolRecord) -> Document | None:
        if record.pool is None:
            return None
        return workload.deployment(
            record.pool,
            image=self._settings.worker_image,
            pull_policy=self._settings.worker_image_pull_policy,
        )

    def _ensure_workload(self, pool: Pool, state: _State, manifest: Document) -> None:
        """Have the Deployment created or corrected if it is not as the pool wants it."""
        wanted = manifest["metadata"]["annotations"][workload.DIGEST_ANNOTATION]
        deployment = self._registry.deployment(pool.key)
        if _complete(deployment, pool):
            state.live = state.live or deployment.live
            if (deployment.applied, deployment.live) == (wanted, state.live):
                self._settle(pool.key, state)
                return
            write = partial(self._apply, pool, state, manifest)
        else:
            write = partial(self._create, pool, state, manifest)
        if state.applying == wanted:
            return
        state.applying = wanted
        self.writer.submit((pool.key, "workload"), Priority.WORKLOAD, write)

    def _settle(self, key: Key, state: _State) -> None:
        """Drop what would still be applied: the Deployment is as it is wanted."""
        if state.applying:
            state.applying = ""
            self.writer.discard((key, "workload"))
        state.troubles.pop("workload", None)

    async def _create(self, pool: Pool, state: _State, manifest: Document) -> None:
        """Create the Deployment, unless the name is taken by somebody else's."""
        key = workload.deployment_key(pool.key)
        replicas = pool.policy.min_replicas
        try:
            found = deployment_record(await self._cluster.read_deployment(key))
        except NotFound:
            found = None
        if found is not None and found.owner != pool.uid:
            raise Conflict(
                f"A Deployment {key} exists and does not belong to this pool: delete or rename "
                f"it, or give the pool another name.",
            )
        if found is not None and found.applied:
            # Made long ago, and news to us: its size is not to be touched any more.
            await self._apply(pool, state, manifest)
            return
        if found is not None:
            replicas = found.replicas
        self._applied(pool, state, await self._cluster.create_deployment(key, manifest, replicas))
        if found is None:
            self._event(state.record, "Created", f"Created the Deployment {key.name}.")

    async def _apply(self, pool: Pool, state: _State, manifest: Document) -> None:
        key = workload.deployment_key(pool.key)
        self._applied(pool, state, await self._cluster.apply_deployment(key, manifest))

    def _applied(self, pool: Pool, state: _State, body: Document) -> None:
        record = deployment_record(body)
        state.live, state.applying = record.live, ""
        state.troubles.pop("workload", None)
        log.info(
            "Deployment applied", extra={"pool": str(pool.key), "deployment": record.key.name}
        )
        self._registry.put_deployment(record)

    # --- the scale

    def _decide(self, key: Key, state: _State, *, told: float | None) -> None:
        pool, reading = state.record.pool, state.reading
        deployment = self._registry.deployment(key)
        if pool is None or reading is None or not _complete(deployment, pool):
            return
        now = self._clock()
        backlog = reading if isinstance(reading, Backlog) else None
        observation = Observation(now, deployment.replicas, backlog, state.learnt.pace(now))
        before, state.decision = state.decision, decide(observation, pool.policy, state.history)
        decision = state.decision
        state.history = decision.history
        if before is None or before.reason is not decision.reason:
            self._count_decision(key, decision)
        if decision.desired == state.scaling_to:
            return
        if decision.desired == deployment.replicas:
            state.troubles.pop("scale", None)
            if state.scaling_to is not None:  # what was decided before no longer holds
                state.scaling_to = None
                self.writer.discard((key, "scale"))
            return
        priority = Priority.DOWN
        if decision.desired > deployment.replicas:
            priority = Priority.UP if deployment.replicas else Priority.WAKE
        state.scaling_to = decision.desired
        write = partial(self._scale, key, state, deployment, decision, told)
        self.writer.submit((key, "scale"), priority, write)

    def _count_decision(self, key: Key, decision: Decision) -> None:
        labels = {"namespace": key.namespace, "pool": key.name, "reason": str(decision.reason)}
        self.metrics.decisions.labels(**labels).inc()

    async def _scale(
        self,
        key: Key,
        state: _State,
        deployment: DeploymentRecord,
        decision: Decision,
        told: float | None,
    ) -> None:
        scale = await self._cluster.scale_deployment(deployment.key, decision.desired)
        if told is not None:
            self.metrics.reaction.observe(asyncio.get_running_loop().time() - told)
        state.scaled_at = self._clock()
        if state.scaling_to == decision.desired:
            state.scaling_to = None
        state.troubles.pop("scale", None)
        note = f"Scaled from {deployment.replicas} to {decision.desired}: {decision.message}"
        log.info(
            note,
            extra={
                "pool": str(key),
                "reason": str(decision.reason),
                "from": deployment.replicas,
                "to": decision.desired,
            },
        )
        self._event(state.record, str(decision.reason), note)
        replicas = scale["spec"].get("replicas", 0)  # the API leaves a zero out
        self._registry.note_scale(key, replicas, version_of(scale))

    # --- reports

    def _event(self, record: PoolRecord, reason: str, note: str, *, warning: bool = False) -> None:
        event = event_document(
            record,
            reason=reason,
            note=note,
            warning=warning,
            now=self._clock(),
            instance=self._settings.pod_name,
        )

        async def write() -> None:
            try:
                await self._cluster.create_event(record.key.namespace, event)
            except ApplyFailed as error:  # an Event is worth one attempt
                log.warning("event not written: %s", error, extra={"pool": str(record.key)})

        slot = (record.key, "event", next(self._event_numbers))
        self.writer.submit(slot, Priority.REPORT, write)

    def _report(self, key: Key, state: _State) -> None:
        """Write the status if a person would notice a change, not too often."""
        if state.report_timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = state.reported_at + STATUS_SECONDS - loop.time()
        if wait > 0:
            state.report_timer = loop.call_later(wait, self._report_later, key, state)
            return
        situation = Situation(
            state.record,
            self._registry.deployment(key),
            state.reading,
            state.decision,
            next(iter(state.troubles.values()), None),
            state.scaled_at,
        )
        status = status_document(situation, state.reported or {}, self._clock())
        if status == {name: (state.reported or {}).get(name) for name in status}:
            return
        state.reported, state.reported_at = status, loop.time()
        write = partial(self._cluster.write_status, key, status)
        self.writer.submit((key, "status"), Priority.REPORT, write)

    def _report_later(self, key: Key, state: _State) -> None:
        state.report_timer = None
        if self._states.get(key) is state:
            self._report(key, state)

    def _write_failed(self, slot: Hashable, error: ApplyFailed) -> None:
        """Take in that a write failed; the writer tries it again unless the object is gone."""
        assert isinstance(slot, tuple)  # noqa: S101  every slot here starts with key and kind
        key, kind = slot[0], slot[1]
        self.metrics.write_failures.labels(kind=kind, error=type(error).__name__).inc()
        log.warning("%s not written: %s", kind, error, extra={"pool": str(key)})
        state = self._states.get(key)
        if state is None or kind not in {"workload", "scale"}:
            return
        if isinstance(error, NotFound):
            state.applying, state.scaling_to = "", None
            self._registry.miss_deployment(key)  # the pool itself is watched
            return
        before = state.troubles.get(kind)
        if before is None or str(before) != str(error):
            self._event(state.record, error.reason, str(error), warning=True)
        state.troubles[kind] = error
        self._report(key, state)

    def _gauges(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        gauges = {}
        for key, state in self._states.items():
            values: dict[str, float] = {"queue_reachable": isinstance(state.reading, Backlog)}
            if isinstance(state.reading, Backlog):
                values["waiting"] = state.reading.waiting
                values["due"] = state.reading.due
                values["in_flight"] = state.reading.in_flight
            if state.decision is not None:
                values["desired_replicas"] = state.decision.desired
            deployment = self._registry.deployment(key)
            if deployment is not None:
                values["replicas"] = deployment.replicas
                values["ready_replicas"] = deployment.ready
            gauges[(key.namespace, key.name)] = values
        return gauges


def _complete(deployment: DeploymentRecord | None, pool: Pool) -> TypeGuard[DeploymentRecord]:
    """Return whether the pool's own Deployment exists, made to its last step.

    Until the last one (`Cluster.create_deployment`), scaling it would be undone by that step.
    """
    return deployment is not None and deployment.owner == pool.uid and bool(deployment.applied)
