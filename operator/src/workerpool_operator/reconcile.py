"""Observe → decide → write, for every pool, whenever anything about it changes.

The place where the planes meet: the registry says what pools and Deployments there are, readers
say how long the queues are, `decide` says what follows, the writer carries it out. Nothing here
waits: each call takes one fact in and hands at most a few writes over.
"""

import asyncio
import logging
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from workerpool_operator import evidence, workload
from workerpool_operator.capacity import Needs, parse_needs
from workerpool_operator.cluster import Cluster
from workerpool_operator.decide import NO_HISTORY, decide
from workerpool_operator.errors import ApplyFailed, Conflict, NotFound, NotLeading, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.inventory import Inventory, Stocktaking
from workerpool_operator.learn import NOTHING, Learnt, learn
from workerpool_operator.meter import Meter
from workerpool_operator.model import Backlog, Decision, History, Observation, Reason
from workerpool_operator.notices import Clock, Events, StatusBoard
from workerpool_operator.queues import CredentialSource, Timing
from workerpool_operator.registry import (
    DeploymentRecord,
    PoolRecord,
    Registry,
    deployment_record,
    version_of,
)
from workerpool_operator.report import (
    CHANGES_KEPT,
    Document,
    Situation,
    change_document,
    loss_words,
)
from workerpool_operator.resource import Key, Pool
from workerpool_operator.retirement import Retirement
from workerpool_operator.rollout import Rollout, complete
from workerpool_operator.schedule import floor
from workerpool_operator.settings import Settings
from workerpool_operator.subscriptions import Subscriptions
from workerpool_operator.targets import Targets
from workerpool_operator.telemetry import Metrics
from workerpool_operator.writer import Priority, Writer

log = logging.getLogger(__name__)

RETIREMENT_REQUESTS = 8
"""Requests about pods under way at a time, beside what the writer sends."""


@dataclass(slots=True)
class _State:
    """What is remembered of one pool between two calls."""

    record: PoolRecord
    board: StatusBoard
    rollout: Rollout
    retirement: Retirement | None
    """Who takes the pool down by idle pods alone; `None` if that is switched off."""
    manifest: Document | None = None
    """The Deployment as the pool wants it; `None` if the pool is invalid."""
    needs: Needs | None = None
    """What its pods ask of a node, if they want whole cores."""
    reading: Backlog | Unreadable | None = None
    survey: Survey | Unreadable | None = None
    history: History = NO_HISTORY
    learnt: Learnt = NOTHING
    decision: Decision | None = None
    scaling_to: int | None = None
    """The count of a scale write that waits or is under way."""
    scaled_at: datetime | None = None
    changes: tuple[Document, ...] = ()
    """The last changes of scale, newest first."""
    troubles: dict[str, ApplyFailed] = field(default_factory=dict)
    """Why a kind of write fails, while it does."""


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
        self._states: dict[Key, _State] = {}
        timing = Timing(
            settings.tick_seconds,
            settings.safety_poll_seconds,
            settings.request_timeout_seconds,
            settings.survey_seconds,
        )
        self.subscriptions = Subscriptions(self, credentials, timing)
        self.metrics = Metrics(self._figures)
        self._meter = Meter()
        self.writer = Writer(limit=settings.max_writes_in_flight, failed=self._write_failed)
        self._targets = Targets(cluster, registry, self._target_found)
        self._inventory = Inventory()
        self._tasks: list[asyncio.Task[None]] = []
        self._gate = asyncio.Semaphore(RETIREMENT_REQUESTS)
        self._events = Events(cluster, self.writer, clock, settings.pod_name)

    def start(self) -> None:
        """Take in what the registry knows already, and listen from now on."""
        self._registry.listen(self.pool_changed)
        for record in list(self._registry.pools):
            self.pool_changed(record.key)
        self._tasks.append(asyncio.create_task(self._targets.run(), name="targets"))
        if self._settings.capacity:
            stocktaking = Stocktaking(self._cluster, self._inventory)
            self._tasks.append(asyncio.create_task(stocktaking.run(), name="inventory"))

    async def stop(self) -> None:
        """Stop reading, and finish the writes that are under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for state in self._states.values():
            if state.retirement is not None:
                state.retirement.close()
        await self.subscriptions.close()
        await self.writer.close()

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
        edited = state is None or state.record.generation != record.generation
        if state is None:
            state = self._states[key] = self._begin(record)
        if _dry_run(state.record) is not _dry_run(record):
            state.history, state.decision = NO_HISTORY, None  # what was pretended is not there
        if state.record is not record or state.manifest is None:
            state.record, state.manifest = record, self._manifest(record)
            state.needs = _needs(record.pool, state.manifest)
        self._follow(key, state)
        if edited:  # a new policy may call for ticks at once
            self.subscriptions.poke(key)
        if edited and record.pool is not None and record.pool.target_deployment:
            self._targets.poke()
        if _dry_run(record):
            state.rollout.close()
        elif record.pool is not None and state.manifest is not None:
            state.rollout.ensure(record.pool, state.manifest)
        self._measure(key, record)
        self._decide(key, state, told=None)
        self._report(key, state)

    def heal(self) -> None:
        """Try again what no event would: pools that have no Deployment."""
        for key in [k for k in self._states if self._registry.deployment(k) is None]:
            self.pool_changed(key)  # what is under way, or failed and waits, is not doubled

    def on_reading(
        self, keys: Collection[Key], reading: Backlog | Unreadable, *, told: float | None
    ) -> bool:
        """Take in a queue's length; answer whether it should be read again soon."""
        moves = False
        for key in keys:
            state = self._states[key]
            self._note_reachability(state, reading)
            state.reading = reading
            if isinstance(reading, Backlog):
                before, state.learnt = state.learnt, learn(state.learnt, self._clock(), reading)
                self._note_loss(state, before)
            self._decide(key, state, told=told)
            self._report(key, state)
            moves = moves or self._moves(key, state)
        return moves

    def on_survey(self, keys: Collection[Key], survey: Survey | Unreadable) -> None:
        """Take in what a queue's workers tell of their cores."""
        for key in keys:
            state = self._states[key]
            state.survey = survey
            self._report(key, state)

    def _note_reachability(self, state: _State, reading: Backlog | Unreadable) -> None:
        """Tell of the moment a queue is lost or found; in between there is nothing to tell."""
        before = state.reading
        if isinstance(reading, Unreadable) and not isinstance(before, Unreadable):
            note = f"{reading}. The replicas are held."
            self._events.tell(state.record, "QueueUnreachable", note, warning=True)
        elif isinstance(reading, Backlog) and isinstance(before, Unreadable):
            self._events.tell(state.record, "QueueReachable", "The queue can be read again.")

    def _note_loss(self, state: _State, before: Learnt) -> None:
        loss = state.learnt.loss
        if loss is not None and loss is not before.loss:
            self._events.tell(state.record, "DataLost", loss_words(loss), warning=True)

    def _moves(self, key: Key, state: _State) -> bool:
        """Return whether anything may happen that Redis would not report by itself.

        It reports the list alone. Work under way, retries that will be due, replicas above
        their resting count and workers that outlived their pods are looked after by ticks.
        """
        backlog, pool = state.reading, state.record.pool
        if not isinstance(backlog, Backlog) or pool is None:
            return True
        replicas, policy = self._replicas(key, state, pool), pool.policy
        if replicas is None:
            return True
        leftover = backlog.workers > 0 and replicas == 0
        held = policy.paused or policy.only_up
        above = replicas > floor(policy, self._clock())[0] and not held
        short = state.decision is not None and bool(state.decision.shortage)
        return bool(backlog.jobs or backlog.scheduled or leftover or above or short)

    def _follow(self, key: Key, state: _State) -> None:
        """Read the pool's queue; what was known of another one says nothing of this."""
        pool = state.record.pool
        if pool is None:
            self.subscriptions.unfollow(key)
        elif not self.subscriptions.follow(key, pool):
            return
        state.survey = None
        state.reading, state.history, state.decision = None, NO_HISTORY, None
        state.learnt = NOTHING

    def _begin(self, record: PoolRecord) -> _State:
        """Return what is remembered of a pool that is new here."""
        key = record.key
        board = StatusBoard(key, self._cluster, self.writer, self._clock)
        board.take(dict(record.status))
        done = partial(self._rolled_out, key)
        rollout = Rollout(key, self._cluster, self._registry, self.writer, done=done)
        changes = tuple(record.status.get("history") or ())
        return _State(record, board, rollout, self._retirement(key), changes=changes)

    def _retirement(self, key: Key) -> Retirement | None:
        if not self._settings.retirement:
            return None

        def changed() -> None:
            self._decide(key, self._states[key], told=None)
            self._report(key, self._states[key])

        def warn(words: str) -> None:
            log.warning(words, extra={"pool": str(key)})
            record = self._states[key].record
            self._events.tell(record, "RetirementUnavailable", words, warning=True)

        ask = partial(self.subscriptions.ask, key)
        return Retirement(self._cluster, ask, self._gate, changed=changed, warn=warn)

    def _forget(self, key: Key, state: _State) -> None:
        """A deleted pool: its Deployment is the garbage collector's."""
        self.subscriptions.unfollow(key)
        state.board.close()
        state.rollout.close()
        if state.retirement is not None:
            state.retirement.close()
        self.writer.discard((key, "scale"))
        self._meter.drop(key)
        for reason in Reason:
            with suppress(KeyError):
                self.metrics.decisions.remove(key.namespace, key.name, str(reason))
        del self._states[key]
        log.info("pool deleted", extra={"pool": str(key)})

    # --- the Deployment

    def _manifest(self, record: PoolRecord) -> Document | None:
        if record.pool is None or record.pool.target_deployment:
            return None
        return workload.deployment(
            record.pool,
            image=self._settings.worker_image,
            pull_policy=self._settings.worker_image_pull_policy,
            protected=self._settings.retirement,
        )

    def _rolled_out(self, key: Key, created: str) -> None:
        """Take in that the Deployment is as it is wanted; name it if it was made just now."""
        state = self._states.get(key)
        if state is None:
            return
        state.troubles.pop("workload", None)
        if created:
            self._events.tell(state.record, "Created", f"Created the Deployment {created}.")

    def _target_found(self, key: Key, problem: ApplyFailed | None) -> None:
        """Take in what is in the way of scaling somebody else's Deployment, or that nothing is."""
        state = self._states.get(key)
        if state is None:
            return
        before = state.troubles.pop("target", None)
        if problem is not None:
            state.troubles["target"] = problem
            state.decision, state.scaling_to = None, None
            self.writer.discard((key, "scale"))
            if str(before) != str(problem):
                self._events.tell(state.record, problem.reason, str(problem), warning=True)
        self._decide(key, state, told=None)
        self._report(key, state)

    # --- the scale

    def _decide(self, key: Key, state: _State, *, told: float | None) -> None:
        pool, reading = state.record.pool, state.reading
        if pool is None or reading is None:
            self._rest(state)
            return
        replicas = self._replicas(key, state, pool)
        if replicas is None or "target" in state.troubles:  # its size is another's to decide
            self._rest(state)
            return
        now = self._clock()
        backlog = reading if isinstance(reading, Backlog) else None
        pace, loss = state.learnt.pace(now), state.learnt.loss
        places = self._inventory.places(key, state.needs, now) if state.needs else None
        observation = Observation(now, replicas, backlog, pace, loss, places)
        before, decision = state.decision, decide(observation, pool.policy, state.history)
        state.history = decision.history
        state.decision = decision = self._allowed(key, state, pool, decision)
        if before is None or before.reason is not decision.reason:
            self._count_decision(key, decision)
        if decision.desired == state.scaling_to:
            return
        if decision.desired == replicas or pool.dry_run:
            state.troubles.pop("scale", None)
            if state.scaling_to is not None:  # what was decided before no longer holds
                state.scaling_to = None
                self.writer.discard((key, "scale"))
            if decision.desired != replicas:
                self._tell(key, state, replicas, decision, "Would scale")
            return
        deployment = self._registry.deployment(key)
        assert deployment is not None  # noqa: S101  it has replicas
        priority = Priority.DOWN
        if decision.desired > deployment.replicas:
            priority = Priority.UP if deployment.replicas else Priority.WAKE
        state.scaling_to = decision.desired
        write = partial(self._scale, key, state, decision, told)
        self.writer.submit((key, "scale"), priority, write)

    def _allowed(self, key: Key, state: _State, pool: Pool, decision: Decision) -> Decision:
        """Return as much of a decision as may be carried out without touching running work."""
        deployment = self._registry.deployment(key)
        # Who keeps no leases is not known to be idle, and the Redis of others is not written to.
        if state.retirement is None or deployment is None or pool.dry_run or pool.at_most_once:
            self._rest(state)
            return decision
        return state.retirement.allow(decision, deployment, pool.queue)

    def _rest(self, state: _State) -> None:
        """Let nobody be sent away for what was decided before."""
        if state.retirement is not None:
            state.retirement.rest()

    def _replicas(self, key: Key, state: _State, pool: Pool) -> int | None:
        """Return the present count; in a dry run what it would be; unknown while it is made."""
        if pool.dry_run and state.decision is not None:
            return state.decision.desired
        deployment = self._registry.deployment(key)
        if complete(deployment, pool):
            return deployment.replicas
        return 0 if pool.dry_run else None

    def _count_decision(self, key: Key, decision: Decision) -> None:
        labels = {"namespace": key.namespace, "pool": key.name, "reason": str(decision.reason)}
        self.metrics.decisions.labels(**labels).inc()

    async def _scale(
        self,
        key: Key,
        state: _State,
        decision: Decision,
        told: float | None,
    ) -> None:
        # As known now, not when it was decided: what became known since led to this same count.
        deployment, pool = self._registry.deployment(key), state.record.pool
        if pool is None or not complete(deployment, pool):
            state.scaling_to = None
            return
        try:
            scale = await self._write_scale(state, deployment, decision.desired)
        except Conflict:
            # Somebody else wrote meanwhile: look at it, and decide anew.
            state.scaling_to = None
            body = await self._cluster.read_deployment(deployment.key)
            self._registry.put_deployment(deployment_record(body), pool=key)
            return
        if scale is None:  # to be decided anew, by what is true by now
            state.scaling_to = None
            return
        if told is not None:
            self.metrics.reaction.observe(asyncio.get_running_loop().time() - told)
        if state.scaling_to == decision.desired:
            state.scaling_to = None
        state.troubles.pop("scale", None)
        state.scaled_at = self._clock()
        self._tell(key, state, deployment.replicas, decision, "Scaled")
        replicas = scale["spec"].get("replicas", 0)  # the API leaves a zero out
        self._registry.note_scale(key, replicas, version_of(scale))

    async def _write_scale(
        self, state: _State, deployment: DeploymentRecord, replicas: int
    ) -> Document | None:
        """Return the Scale as written; `None` if the pods that were to go may not go now."""
        key, version = deployment.key, deployment.version
        pool = state.record.pool
        unseen = pool is not None and pool.at_most_once
        if state.retirement is None or unseen or replicas >= deployment.replicas:
            return await self._cluster.scale_deployment(key, replicas, version)
        async with state.retirement.lowering(replicas) as looked_at:
            if looked_at is None:
                return None
            return await self._cluster.scale_deployment(key, replicas, looked_at or version)

    def _tell(self, key: Key, state: _State, before: int, decision: Decision, verb: str) -> None:
        """Tell of a change of scale in the log, in an Event, and in the status' history."""
        note = f"{verb} from {before} to {decision.desired}: {decision.message}"
        reason = str(decision.reason)
        counts = {"from": before, "to": decision.desired}
        log.info(note, extra={"pool": str(key), "reason": reason, **counts})
        self._events.tell(state.record, reason, note)
        change = change_document(before, decision, self._clock())
        state.changes = (change, *state.changes)[:CHANGES_KEPT]

    # --- reports

    def _report(self, key: Key, state: _State) -> None:
        state.board.show(
            lambda: Situation(
                state.record,
                self._registry.deployment(key),
                state.reading,
                state.decision,
                next(iter(state.troubles.values()), None),
                state.scaled_at,
                state.survey,
                state.changes,
                state.learnt.loss,
            )
        )

    def _write_failed(self, slot: Hashable, error: ApplyFailed) -> None:
        """Take in that a write failed; the writer tries it again unless the object is gone."""
        assert isinstance(slot, tuple)  # noqa: S101  every slot here starts with key and kind
        key, kind = slot[0], slot[1]
        if isinstance(error, NotLeading):
            return  # told by the elector, once and not for each pool
        self.metrics.write_failures.labels(kind=kind, error=type(error).__name__).inc()
        log.warning("%s not written: %s", kind, error, extra={"pool": str(key)})
        state = self._states.get(key)
        if state is None or kind not in {"workload", "scale"}:
            return
        if isinstance(error, NotFound):
            state.rollout.missed()
            state.scaling_to = None
            self._registry.miss_deployment(key)  # the pool itself is watched
            return
        before = state.troubles.get(kind)
        if before is None or str(before) != str(error):
            self._events.tell(state.record, error.reason, str(error), warning=True)
        state.troubles[kind] = error
        self._report(key, state)

    def _measure(self, key: Key, record: PoolRecord) -> None:
        """Have the meter run at the rate of what is asked for now."""
        deployment, pool = self._registry.deployment(key), record.pool
        now, workers, cores = asyncio.get_running_loop().time(), 0, 0.0
        if pool is not None and complete(deployment, pool):
            workers = deployment.replicas * pool.policy.workers_per_replica
            cores = deployment.replicas * pool.cpu.requested
        self._meter.set(key, now, workers=workers, cores=cores)

    def _figures(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        now, price = asyncio.get_running_loop().time(), self._settings.price_per_core_hour
        figures = {}
        for key, state in self._states.items():
            values: dict[str, float] = {"queue_reachable": isinstance(state.reading, Backlog)}
            if isinstance(state.reading, Backlog):
                values["waiting"] = state.reading.waiting
                values["due"] = state.reading.due
                values["in_flight"] = state.reading.in_flight
                wait = state.learnt.pace(self._clock()).oldest_wait
                values["oldest_wait_seconds"] = wait.total_seconds() if wait else 0.0
            if state.decision is not None:
                values["desired_replicas"] = state.decision.desired
            deployment = self._registry.deployment(key)
            if deployment is not None:
                values["replicas"] = deployment.replicas
                values["ready_replicas"] = deployment.ready
            if isinstance(state.survey, Survey):
                values.update(evidence.gauges(key, state.survey))
            used = self._meter.read(key, now)
            values["worker_seconds"] = used.worker_seconds
            values["core_seconds"] = used.core_seconds
            if price:
                values["cost"] = used.core_seconds / 3600 * price
            figures[(key.namespace, key.name)] = values
        return figures


def _dry_run(record: PoolRecord) -> bool:
    return record.pool is not None and record.pool.dry_run


def _needs(pool: Pool | None, manifest: Document | None) -> Needs | None:
    """Return what pods of an exclusive pool need; shares of a core are not counted."""
    if pool is None or manifest is None or pool.cpu.cores is None:
        return None
    return parse_needs(manifest["spec"]["template"]["spec"], pool.cpu.cores)
