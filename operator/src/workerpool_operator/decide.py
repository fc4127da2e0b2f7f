"""How many replicas a pool should have: pure, total, explained.

`decide` computes and performs nothing: no clock, no I/O, no logging, and it never raises. The
steps below run in this order, and each may change the count and name the reason:

    demand (target → longest wait → standby) → floor → ceiling
    → upwards only:   rate limit
    → downwards only: busy floor → lost data → no scale-in → stabilization → rate limit
    → capacity

Floors and the ceiling are what people set themselves: they hold at once, whatever the rest says,
but for cores that do not exist.
"""

from dataclasses import replace
from datetime import timedelta

from workerpool_operator import window
from workerpool_operator.demand import Step, demand
from workerpool_operator.model import (
    Decision,
    History,
    Observation,
    Places,
    Policy,
    RateLimit,
    Reason,
    Sample,
    Schedule,
)
from workerpool_operator.schedule import floor

NO_HISTORY = History()
LOSS_HOLD = timedelta(minutes=5)
"""How long replicas are kept after Redis lost its data: time to restore it or to push again."""
RATE_KNOWN_AFTER = timedelta(seconds=30)
"""How long it takes at least to learn how fast jobs arrive (`learn`)."""


def decide(observation: Observation, policy: Policy, history: History = NO_HISTORY) -> Decision:
    """Return the replicas that `policy` calls for under `observation`.

    An empty `history` means that the past is unknown (a restart): the present replica count is
    taken for the window's maximum, so a restart never scales down sooner than no restart. A hold
    forgets for the same reason what was called for: nobody knows what it was meanwhile.
    """
    at, replicas, backlog = observation.at, observation.replicas, observation.backlog
    if policy.paused:
        words = f"paused: true holds the replicas: {_count(replicas)} kept"
        return Decision(replicas, Reason.PAUSED, None, words, NO_HISTORY)
    if backlog is None:
        return _without_backlog(observation, policy, history)

    asked = demand(backlog, observation, policy)
    least, schedule = floor(policy, at)
    step = _bound(asked._replace(words=""), least, schedule, policy)
    history = _remember(history, observation, step.replicas, policy)
    if step.replicas > replicas:
        step = _grow_no_faster(step, history, replicas, (least, schedule), policy)
    elif step.replicas < replicas:
        step = _keep_busy(step, backlog.in_flight, replicas, policy)
        step = _outlast_loss(step, observation, policy)
        step = _only_up(step, replicas, policy)
        step = _stabilize(step, history, replicas, policy)
        step = _shrink_no_faster(step, observation, history, policy)
    step, shortage = limit_by_capacity(step, observation)
    message = f"{asked.words}{step.words}: {_count(step.replicas)}"
    return Decision(step.replicas, step.reason, asked.replicas, message, history, shortage)


def _without_backlog(observation: Observation, policy: Policy, history: History) -> Decision:
    """Hold what is there; after a while, have at least the fallback."""
    at, replicas, fallback = observation.at, observation.replicas, policy.fallback
    since = history.unread_since or at
    # What was called for is unknown, but what is there is known: rate limits go on.
    memory = replace(_remember(history, observation, 0, policy), called=(), unread_since=since)
    words = "the queue cannot be read, so its backlog is unknown"
    if fallback is not None and at - since >= fallback.after:
        least = min(fallback.replicas, policy.max_replicas)
        if replicas <= least:
            words += ", for longer than fallback.afterSeconds"
            step, shortage = limit_by_capacity(Step(least, Reason.FALLBACK, words), observation)
            kept = max(replicas, step.replicas)
            message = f"{step.words}: {_count(kept)}"
            return Decision(kept, step.reason, None, message, memory, shortage)
    words += f": {_count(replicas)} kept"
    return Decision(replicas, Reason.QUEUE_UNREACHABLE, None, words, memory)


def _bound(step: Step, least: int, schedule: Schedule | None, policy: Policy) -> Step:
    """Stay between the floor (minReplicas, schedules) and maxReplicas."""
    if step.replicas > policy.max_replicas:
        return Step(policy.max_replicas, Reason.MAX_REPLICAS, ", limited by maxReplicas")
    if step.replicas >= least:
        return step
    idle = Reason.MIN_REPLICAS if step.replicas else Reason.IDLE
    return Step(least, Reason.SCHEDULE if schedule else idle, _lifted(schedule))


def _lifted(schedule: Schedule | None) -> str:
    """Name the floor that is above what is called for."""
    if schedule is None:
        return ", lifted by minReplicas"
    return f", lifted by the schedule {schedule.cron} ({schedule.zone})"


def _remember(history: History, observation: Observation, called: int, policy: Policy) -> History:
    """Add what is called for and what is there; an unknown past may have called for all of it."""
    at, there = observation.at, Sample(observation.at, observation.replicas)
    up, down = policy.up_limit, policy.down_limit
    # By drain time it takes a while to learn what keeps up with arrivals: nobody goes before.
    learning = max(timedelta(), RATE_KNOWN_AFTER - policy.stabilization)
    past = replace(there, at=at + learning) if policy.drain is not None else there
    return History(
        since=history.since or at,
        called=window.add_high(
            history.called or (past,), Sample(at, called), at - policy.stabilization
        ),
        highs=window.add_high(history.highs, there, at - down.period) if down else (),
        lows=window.add_low(history.lows, there, at - up.period) if up else (),
    )


def _grow_no_faster(
    step: Step,
    history: History,
    replicas: int,
    floor: tuple[int, Schedule | None],
    policy: Policy,
) -> Step:
    """Grow by no more than the allowance within its period; a floor needs none."""
    limit = policy.up_limit
    if limit is None:
        return step
    low = window.extreme(history.lows)
    ceiling = max(low + limit.allowance(low), replicas)
    least, schedule = floor
    if step.replicas <= max(ceiling, least):
        return step
    words = f", but scaleUp.limit adds no more than {_per(limit, low)}"
    if least > ceiling:
        words += _lifted(schedule)
    return Step(max(ceiling, least), Reason.SCALE_UP_LIMITED, words)


def _keep_busy(step: Step, in_flight: int, replicas: int, policy: Policy) -> Step:
    """Never take away more replicas than could be idle."""
    needed = -(-in_flight // policy.workers_per_replica)
    words = f", but {in_flight} in flight keep their workers"
    return _keep(step, needed, Reason.BUSY, words, replicas, policy)


def _stabilize(step: Step, history: History, replicas: int, policy: Policy) -> Step:
    """Go down no further than the highest count called for within the window."""
    peak = window.extreme(history.called)
    seconds = round(policy.stabilization.total_seconds())
    words = f", but up to {_count(peak)} called for within the last {seconds} s"
    return _keep(step, peak, Reason.STABILIZING, words, replicas, policy)


def _shrink_no_faster(
    step: Step, observation: Observation, history: History, policy: Policy
) -> Step:
    """Shrink by no more than the allowance within its period.

    Until a whole period is known, all of it may have been used up in the time before.
    """
    limit = policy.down_limit
    if limit is None:
        return step
    high = window.extreme(history.highs)
    known = history.since is not None and observation.at - history.since >= limit.period
    least = high - limit.allowance(high) if known else high
    words = f", but scaleDown.limit takes away no more than {_per(limit, high)}"
    return _keep(step, least, Reason.SCALE_DOWN_LIMITED, words, observation.replicas, policy)


def _outlast_loss(step: Step, observation: Observation, policy: Policy) -> Step:
    """Keep everybody for a while after the jobs vanished with Redis' memory."""
    loss = observation.loss
    if loss is None or observation.at - loss.at >= LOSS_HOLD:
        return step
    seconds = round(LOSS_HOLD.total_seconds())
    words = f", but Redis lost {loss.words}, so nobody goes for {seconds} s"
    replicas = observation.replicas
    return _keep(step, replicas, Reason.DATA_LOST, words, replicas, policy)


def _only_up(step: Step, replicas: int, policy: Policy) -> Step:
    """Keep everybody where scale-in is switched off."""
    if not policy.only_up:
        return step
    words = ", but scaleDown.disabled: true takes nobody away"
    return _keep(step, replicas, Reason.SCALE_DOWN_DISABLED, words, replicas, policy)


def limit_by_capacity(step: Step, observation: Observation) -> tuple[Step, str]:
    """Ask for no more cores than there are, but for one pod that an autoscaler can see waiting.

    Who waits already is left waiting. After a rejection nobody is: each would be bound to the
    same node, turned away and made again, over and over. Return what is lacking, too.
    """
    places, wanted = observation.places, step.replicas
    if places is not None and places.refusal:
        return _go_on_after_refusal(step, places)
    if places is None or wanted <= places.total:
        return step, ""
    missing = (wanted - places.total) * places.cores
    lacking = f"{missing} {'core' if missing == 1 else 'cores'} missing"
    most = min(wanted, max(places.total + 1, observation.replicas))
    shortage = (
        f"{lacking}: {_count(wanted)} wanted, and the nodes have room for {places.total}. One "
        f"pod is kept waiting for a node to come."
    )
    return Step(most, Reason.INSUFFICIENT_CORES, f"{step.words}, {lacking}"), shortage


def _go_on_after_refusal(step: Step, places: Places) -> tuple[Step, str]:
    """Ask for those that a kubelet took in, and for as many more as may be tried."""
    wanted, homeless = step.replicas, step.replicas - (places.total - places.tried)
    if homeless <= 0:
        return step, ""
    tried = f"{places.tried} more may be tried" if places.tried else "no other is tried for now"
    words = f"{step.words}, but a node turned a pod away and {tried}"
    lacking = f"{homeless} of {_count(wanted)} {'has' if homeless == 1 else 'have'} no place"
    shortage = f"{lacking}: {places.refusal}."
    return Step(min(wanted, places.total), Reason.PODS_REJECTED, words), shortage


def _keep(
    step: Step, least: int, reason: Reason, words: str, replicas: int, policy: Policy
) -> Step:
    """Return at least `least` of the replicas that are there, as far as maxReplicas allows."""
    most = min(least, replicas)
    kept = min(most, policy.max_replicas)
    if kept <= step.replicas:
        return step
    return Step(kept, reason, words if kept == most else f"{words}, limited by maxReplicas")


def _per(limit: RateLimit, count: int) -> str:
    return f"{limit.allowance(count)} within {round(limit.period.total_seconds())} s"


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
