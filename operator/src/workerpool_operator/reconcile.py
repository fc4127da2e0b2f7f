"""Observe → decide → write, for every pool, whenever anything about it changes.

The place where the planes meet: the registry says what pools and Deployments there are, readers
say how long the queues are, `control` has `decide` say what follows, the writer carries it out.
Nothing here waits: each call takes one fact in and hands at most a few writes over. It knows
which fact concerns whom; neither how a count is computed nor how anything is read or written.
"""

import asyncio
import logging
from collections.abc import Collection, Hashable
from functools import partial

from workerpool_operator import workload
from workerpool_operator.cluster import Cluster
from workerpool_operator.control import Controller
from workerpool_operator.errors import ApplyFailed, NotFound, NotLeading, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.instruments import Instruments
from workerpool_operator.inventory import Inventory, Stocktaking
from workerpool_operator.learn import Learnt, learn
from workerpool_operator.model import Backlog, Decision
from workerpool_operator.notices import Chronicle, Clock, Events, StatusBoard
from workerpool_operator.queues import CredentialSource, Timing
from workerpool_operator.registry import PoolRecord, Registry
from workerpool_operator.report import Document, loss_told
from workerpool_operator.resource import Key
from workerpool_operator.retirement import Retirement
from workerpool_operator.rollout import Rollout
from workerpool_operator.scaling import Scaling
from workerpool_operator.settings import Settings
from workerpool_operator.state import PoolState, pretends
from workerpool_operator.subscriptions import Subscriptions
from workerpool_operator.targets import Targets
from workerpool_operator.writer import Writer

log = logging.getLogger(__name__)

RETIREMENT_REQUESTS = 8
"""Requests about pods under way at a time, beside what the writer sends."""


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
        self._states: dict[Key, PoolState] = {}
        timing = Timing(
            settings.tick_seconds,
            settings.safety_poll_seconds,
            settings.request_timeout_seconds,
            settings.survey_seconds,
        )
        self.subscriptions = Subscriptions(self, credentials, timing)
        self.writer = Writer(limit=settings.max_writes_in_flight, failed=self._write_failed)
        self._targets = Targets(cluster, registry, self._target_found)
        self._inventory = Inventory(self._pod_rejected)
        self._instruments = Instruments(
            self._states, registry, clock, settings.price_per_core_hour
        )
        self.metrics = self._instruments.metrics
        self._controller = Controller(registry, self._inventory, self._instruments, clock)
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
            state.scaling.close()
        calls = (state.scaling.call_back() for state in self._states.values())
        await asyncio.gather(*calls, return_exceptions=True)
        await self.subscriptions.close()
        await self.writer.close()

    # --- facts coming in

    def pool_changed(self, key: Key) -> None:
        """Take in what the registry knows of a pool and its Deployment now."""
        try:
            self._take_in(key)
        except Exception:  # the edge of a task: the other pools go on
            log.exception("a pool cannot be taken in", extra={"pool": str(key)})

    def _take_in(self, key: Key) -> None:
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
        if state.record is not record or state.manifest is None:
            state.take(record, self._manifest(record))
        self._follow(key, state)
        if edited:  # a new policy may call for ticks at once
            self.subscriptions.poke(key)
        if edited and record.pool is not None and record.pool.target_deployment:
            self._targets.poke()
        if pretends(record):
            state.rollout.close()
        elif record.pool is not None and state.manifest is not None:
            state.rollout.ensure(record.pool, state.manifest)
        self._instruments.meter(state)
        self._controller.decide(state, told=None)
        self._report(state)

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
            state.chronicle.reading(state.record, state.reading, reading)
            state.reading = reading
            if isinstance(reading, Backlog):
                before, state.learnt = state.learnt, learn(state.learnt, self._clock(), reading)
                if state.learnt.loss is not before.loss:
                    state.chronicle.loss(state.record, state.learnt.loss)
            self._controller.decide(state, told=told)
            self._report(state)
            moves = moves or self._controller.moves(state)
        return moves

    def on_survey(self, keys: Collection[Key], survey: Survey | Unreadable) -> None:
        """Take in what a queue's workers tell of their cores."""
        for key in keys:
            state = self._states[key]
            state.survey = survey
            self._report(state)

    def _follow(self, key: Key, state: PoolState) -> None:
        """Read the pool's queue, knowing nothing of it if it is another one than before."""
        pool, subscriptions = state.record.pool, self.subscriptions
        left = subscriptions.unfollow(key) if pool is None else subscriptions.follow(key, pool)
        if left:
            state.forget_queue()

    def _begin(self, record: PoolRecord) -> PoolState:
        """Return what is remembered of a pool that is new here."""
        key = record.key
        board = StatusBoard(key, self._cluster, self.writer, self._clock)
        board.take(dict(record.status))
        done = partial(self._rolled_out, key)
        rollout = Rollout(key, self._cluster, self._registry, self.writer, done=done)
        scaling = Scaling(
            key,
            self._cluster,
            self._registry,
            self.writer,
            self._retirement(key),
            done=partial(self._scaled, key),
        )
        chronicle = Chronicle(self._events, self._clock, record.status.get("history") or ())
        learnt = Learnt(loss=loss_told(record.status, self._clock()))
        return PoolState(record, board, rollout, scaling, chronicle, learnt=learnt)

    def _retirement(self, key: Key) -> Retirement | None:
        if not self._settings.retirement:
            return None

        def changed() -> None:
            self._controller.decide(self._states[key], told=None)
            self._report(self._states[key])

        def warn(words: str) -> None:
            log.warning(words, extra={"pool": str(key)})
            record = self._states[key].record
            self._events.tell(record, "RetirementUnavailable", words, warning=True)

        ask = partial(self.subscriptions.ask, key)
        return Retirement(self._cluster, ask, self._gate, changed=changed, warn=warn)

    def _forget(self, key: Key, state: PoolState) -> None:
        """A deleted pool: its Deployment is the garbage collector's."""
        self.subscriptions.unfollow(key)
        state.board.close()
        state.rollout.close()
        state.scaling.close()
        self._instruments.drop(key)
        self._inventory.waive(key)
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
            state.decision = None
            state.scaling.withdraw()
            if str(before) != str(problem):
                self._events.tell(state.record, problem.reason, str(problem), warning=True)
        self._controller.decide(state, told=None)
        self._report(state)

    def _scaled(self, key: Key, before: int, decision: Decision, told: float | None) -> None:
        """Take in that a decision was carried out."""
        if told is not None:
            self.metrics.reaction.observe(asyncio.get_running_loop().time() - told)
        state = self._states.get(key)
        if state is None:
            return
        state.troubles.pop("scale", None)
        state.scaled_at = self._clock()
        state.chronicle.change(state.record, before, decision, pretended=False)

    def _pod_rejected(self, key: Key) -> None:
        """Take in that a node turned a pod away, before there are many."""
        if (state := self._states.get(key)) is not None:
            self._controller.decide(state, told=None)
            self._report(state)

    # --- reports

    def _report(self, state: PoolState) -> None:
        state.board.show(lambda: state.situation(self._registry.deployment(state.key)))

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
            state.scaling.missed()
            self._registry.miss_deployment(key)  # the pool itself is watched
            return
        before = state.troubles.get(kind)
        if before is None or str(before) != str(error):
            self._events.tell(state.record, error.reason, str(error), warning=True)
        state.troubles[kind] = error
        self._report(state)
