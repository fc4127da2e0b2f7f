"""What people read about a pool."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.workerpools import stored
from workerpool_operator.closing import CLOSING
from workerpool_operator.decide import LOSS_HOLD, decide
from workerpool_operator.errors import ApplyFailed, Conflict, Forbidden, TargetMissing, Unreadable
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.figures import figures
from workerpool_operator.meter import Usage
from workerpool_operator.model import (
    Backlog,
    Fallback,
    History,
    Loss,
    Observation,
    Places,
    Policy,
    Reason,
)
from workerpool_operator.registry import DeploymentRecord, PoolRecord
from workerpool_operator.report import (
    Situation,
    change_document,
    event_document,
    loss_told,
    status_document,
)
from workerpool_operator.resource import Key, parse
from workerpool_operator.victims import hold_back

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = Key("shop", "images")


def deployment(replicas: int, ready: int) -> DeploymentRecord:
    return DeploymentRecord(
        key=Key("shop", "images-worker"),
        owner="uid",
        version=5,
        replicas=replicas,
        ready=ready,
        updated=True,
        applied="digest",
        live="live",
    )


def situation(
    backlog: Backlog | Unreadable | None, replicas: int = 0, ready: int = 0
) -> Situation:
    pool = parse(stored())
    known = backlog if isinstance(backlog, Backlog) else None
    decision = decide(Observation(NOW, replicas, known), pool.policy) if backlog else None
    return Situation(
        record=PoolRecord(KEY, "uid", version=9, generation=3, pool=pool),
        deployment=deployment(replicas, ready),
        reading=backlog,
        decision=decision,
        trouble=None,
        scaled_at=None,
    )


def test_the_jobs_that_were_buried_are_a_figure_while_the_queue_can_be_read() -> None:
    used = Usage(0.0)
    assert figures(situation(Backlog(7, buried=3)), None, used, 0.0)["buried"] == 3
    unread = situation(Unreadable("away"))
    assert "buried" not in figures(unread, None, used, 0.0)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def scaling_limited(status: dict[str, Any]) -> tuple[str, str, str]:
    (told,) = [c for c in status["conditions"] if c["type"] == "ScalingLimited"]
    return told["status"], told["reason"], told["message"]


def test_of_jobs_that_are_taken_for_good_nobody_says_how_many_run() -> None:
    lossy = situation(Backlog(7), replicas=1, ready=1)
    pool = parse(stored({"spec.queue.delivery": "at-most-once"}))
    status = status_document(replace(lossy, record=replace(lossy.record, pool=pool)), {}, NOW)
    assert (status["waiting"], status["busy"], status["due"]) == (7, None, None)
    assert conditions(status)["InFlightKnown"] == ("False", "AtMostOnce")
    assert "InFlightKnown" not in conditions(status_document(lossy, {}, NOW))


def test_a_pool_at_work() -> None:
    at_work = replace(
        situation(Backlog(120, due=3, in_flight=4), replicas=4, ready=3), scaled_at=NOW
    )

    status = status_document(at_work, {}, NOW)

    assert {name: value for name, value in status.items() if name != "conditions"} == {
        "observedGeneration": 3,
        "waiting": 120,
        "due": 3,
        "busy": 4,
        "replicas": 4,
        "desiredReplicas": 10,
        "readyReplicas": 3,
        "reason": "MaxReplicas",
        "message": "120 waiting + 3 due again + 4 in flight at 10 per replica ask for 13, "
        "limited by maxReplicas: 10 replicas",
        "lastScaleTime": "2026-03-01T12:00:00Z",
        "externalWorkers": None,
        "history": [],
    }
    assert status["conditions"][:4] == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Ready",
            "message": "3 of 4 worker pods are ready.",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "observedGeneration": 3,
        },
        {
            "type": "QueueReachable",
            "status": "True",
            "reason": "Connected",
            "message": "The queue's length is known.",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "observedGeneration": 3,
        },
        {
            "type": "ScalingLimited",
            "status": "True",
            "reason": "MaxReplicas",
            "message": "13 replicas are called for; spec.maxReplicas allows 10.",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "observedGeneration": 3,
        },
        {
            "type": "DataLost",
            "status": "False",
            "reason": "NoLossSeen",
            "message": "No loss of jobs in Redis was seen lately.",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "observedGeneration": 3,
        },
    ]


def test_what_is_unknown_is_removed_and_never_zero() -> None:
    unknown = situation(Unreadable("Redis at redis:6379 is gone", reason="Unreachable"), 4, 4)

    status = status_document(unknown, {}, NOW)

    assert [status[name] for name in ("waiting", "due", "busy")] == [None, None, None]
    assert status["desiredReplicas"] == 4
    assert status["reason"] == "QueueUnreachable"


def test_before_anything_is_known_nothing_is_claimed() -> None:
    fresh = replace(situation(None), deployment=None)

    status = status_document(fresh, {}, NOW)

    unknown = ("waiting", "due", "busy", "replicas", "desiredReplicas", "readyReplicas")
    assert [status[name] for name in unknown] == [None] * 6
    assert status["reason"] == "Starting"
    assert conditions(status) == {
        **dict.fromkeys(("Ready", "QueueReachable", "ScalingLimited"), ("Unknown", "Starting")),
        **dict.fromkeys(("CPUPinned", "Isolated"), ("Unknown", "NoEvidence")),
        "DataLost": ("False", "NoLossSeen"),
    }


def test_what_workers_tell_of_their_cores_is_part_of_the_status() -> None:
    own = Report("w0", KEY, pod="p", node="n", cpus=frozenset({1}), waited=0.0)
    stranger = Report("w1", Key("", ""), node="laptop")
    told = replace(situation(Backlog(0), 1, 1), survey=Survey(2, (own, stranger)))

    status = status_document(told, {}, NOW)

    assert status["externalWorkers"] == 1
    assert conditions(status)["CPUPinned"] == ("True", "Pinned")
    assert conditions(status)["Isolated"] == ("True", "Undisturbed")


@pytest.mark.parametrize(
    ("now", "ready"),
    [
        (situation(Backlog(0)), ("True", "Ready")),
        (situation(Backlog(5), 3, 0), ("False", "WorkersNotReady")),
        (situation(Backlog(5), 3, 1), ("True", "Ready")),
        (situation(Unreadable("gone"), 3, 3), ("False", "QueueUnreachable")),
        (
            replace(situation(Backlog(5)), trouble=Conflict("taken")),
            ("False", "DeploymentConflict"),
        ),
        (replace(situation(Backlog(5)), trouble=Forbidden("no")), ("False", "Forbidden")),
        (replace(situation(Backlog(5)), trouble=ApplyFailed("422")), ("False", "ApplyFailed")),
        (replace(situation(Unreadable("x")), trouble=Forbidden("no")), ("False", "Forbidden")),
        (replace(situation(Backlog(5)), deployment=None), ("Unknown", "Starting")),
    ],
)
def test_ready_means_that_the_pool_does_what_its_spec_says(
    now: Situation, ready: tuple[str, str]
) -> None:
    assert conditions(status_document(now, {}, NOW))["Ready"] == ready


def test_an_invalid_spec_says_what_is_wrong() -> None:
    record = PoolRecord(KEY, "uid", version=9, generation=3, pool=None, problem="spec.x is bad")
    invalid = replace(situation(None), record=record)

    status = status_document(invalid, {}, NOW)

    assert (status["reason"], status["message"]) == ("InvalidSpec", "spec.x is bad")
    assert conditions(status)["Ready"] == ("False", "InvalidSpec")


def test_the_reason_of_an_unreadable_queue_is_the_conditions() -> None:
    missing = situation(Unreadable("the Secret shop/redis is missing", reason="SecretMissing"))

    status = status_document(missing, {}, NOW)

    (reachable,) = [c for c in status["conditions"] if c["type"] == "QueueReachable"]
    assert (reachable["status"], reachable["reason"]) == ("False", "SecretMissing")
    assert reachable["message"] == "the Secret shop/redis is missing. The replicas are held."


def test_the_last_scale_time_outlives_a_restart() -> None:
    previous = {"lastScaleTime": "2026-02-28T00:00:00Z"}

    assert status_document(situation(Backlog(0)), previous, NOW)["lastScaleTime"] == (
        "2026-02-28T00:00:00Z"
    )


def test_transitions_are_told_from_the_previous_status() -> None:
    first = status_document(situation(Backlog(0)), {}, NOW)
    later = NOW + timedelta(minutes=1)

    second = status_document(situation(Unreadable("gone")), first, later)

    since = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert since == {
        "Ready": "2026-03-01T12:01:00Z",
        "QueueReachable": "2026-03-01T12:01:00Z",
        "ScalingLimited": "2026-03-01T12:01:00Z",
        "CPUPinned": "2026-03-01T12:00:00Z",
        "Isolated": "2026-03-01T12:00:00Z",
        "DataLost": "2026-03-01T12:00:00Z",
    }


def test_a_loss_is_told_with_its_remedy_until_it_holds_nobody_any_more() -> None:
    lost = replace(situation(Backlog(0), 3, 3), loss=Loss(NOW, 40))

    during = status_document(lost, {}, NOW + LOSS_HOLD - timedelta(seconds=1))
    after = status_document(lost, during, NOW + LOSS_HOLD)

    (told,) = [c for c in during["conditions"] if c["type"] == "DataLost"]
    assert (told["status"], told["reason"]) == ("True", "DataLost")
    assert "without 40 jobs that it had" in told["message"]
    assert "appendonly yes" in told["message"]
    assert conditions(after)["DataLost"] == ("False", "NoLossSeen")


@given(st.lists(st.integers(0, 400), min_size=1, max_size=3), st.integers(0, 400))
def test_a_loss_before_a_restart_holds_at_least_as_long_as_without_one(
    pauses: list[int], later: int
) -> None:
    """Data may be lost again and again; each time, and before the restart, the status is told."""
    policy = replace(parse(stored()).policy, stabilization=timedelta(0))
    at, loss, status = NOW, None, dict[str, Any]()
    for pause in pauses:
        now = replace(situation(Backlog(0), 3, 3), loss=loss)
        status = status_document(now, status, at)
        loss = Loss(at, 40)
        status = status_document(replace(now, loss=loss), status, at)
        at += timedelta(seconds=pause)
    seen = Observation(at + timedelta(seconds=later), 3, Backlog(0))

    going = decide(replace(seen, loss=loss), policy)
    restarted = decide(replace(seen, loss=loss_told(status, at)), policy)

    assert restarted.desired >= going.desired


def test_a_loss_that_a_predecessor_saw_is_told_of_without_a_number() -> None:
    lost = replace(situation(Backlog(0), 3, 3), loss=Loss(NOW, 40))
    later = NOW + timedelta(seconds=10)

    told = loss_told(status_document(lost, {}, NOW), later)

    assert told == Loss(later, None)
    assert loss_told({}, NOW) is None
    status = status_document(replace(lost, loss=told), {}, later)
    (condition,) = [c for c in status["conditions"] if c["type"] == "DataLost"]
    assert "came back without jobs that it had" in condition["message"]


def test_a_rate_that_limits_the_growth_is_named() -> None:
    pool = parse(stored({"spec.scaleUp": {"limit": {"replicas": 2}}}))
    decision = decide(Observation(NOW, 1, Backlog(90)), pool.policy)
    limited = replace(situation(Backlog(90), 1, 1), decision=decision)

    status = status_document(limited, {}, NOW)

    assert scaling_limited(status) == (
        "True",
        "ScaleUpLimited",
        "9 replicas are called for; spec.scaleUp.limit keeps the pool at 3 for now.",
    )


def test_a_ceiling_is_told_while_those_above_it_are_closed() -> None:
    decision = decide(Observation(NOW, 15, Backlog(130)), Policy(max_replicas=10))
    held = hold_back(decision, 15, *CLOSING)
    limited = replace(situation(Backlog(130), 15, 15), decision=held)

    status = status_document(limited, {}, NOW)

    assert (status["reason"], status["desiredReplicas"]) == ("Retiring", 15)
    assert scaling_limited(status) == (
        "True",
        "MaxReplicas",
        "13 replicas are called for; spec.maxReplicas allows 10.",
    )


@pytest.mark.parametrize(
    ("policy", "backlog", "since", "reason"),
    [
        (Policy(paused=True), Backlog(1_000), NOW, Reason.PAUSED),
        (Policy(), None, NOW, Reason.QUEUE_UNREACHABLE),
        (Policy(fallback=Fallback(9, timedelta(0))), None, NOW, Reason.FALLBACK),
    ],
)
def test_while_the_demand_is_unknown_nobody_says_that_no_limit_cuts_it(
    policy: Policy, backlog: Backlog | None, since: datetime, reason: Reason
) -> None:
    decision = decide(Observation(NOW, 3, backlog), policy, History(unread_since=since))

    status = status_document(replace(situation(Backlog(0), 3), decision=decision), {}, NOW)

    assert scaling_limited(status) == (
        "Unknown",
        str(reason),
        "What is called for is unknown, so nobody can tell whether a limit would cut it.",
    )


def test_where_nothing_is_decided_the_limits_say_where_to_look() -> None:
    decided = situation(Backlog(0), 3)
    record = replace(decided.record, pool=None, problem="spec.queue is missing")
    missing = TargetMissing("There is no Deployment legacy")
    lost = replace(decided, decision=None, trouble=missing)

    for now, reason in ((replace(decided, record=record), "InvalidSpec"), (lost, missing.reason)):
        status = status_document(now, {}, NOW)
        words = "Nothing is decided: see the condition Ready."
        assert scaling_limited(status) == ("Unknown", reason, words)
        assert conditions(status)["Ready"] == ("False", reason)


def test_a_dry_run_says_so_and_is_ready_without_a_deployment() -> None:
    pool = parse(stored({"spec.dryRun": True}))
    record = PoolRecord(KEY, "uid", version=9, generation=3, pool=pool)
    dry = replace(situation(Backlog(25)), record=record, deployment=None)

    status = status_document(dry, {}, NOW)

    assert status["message"] == "dry run: 25 waiting at 10 per replica ask for 3: 3 replicas"
    assert (status["replicas"], status["desiredReplicas"]) == (None, 3)
    assert conditions(status)["Ready"] == ("True", "DryRun")


def test_a_change_is_kept_as_it_was_decided() -> None:
    decision = decide(Observation(NOW, 4, Backlog(95)), parse(stored()).policy)
    change = change_document(4, decision, NOW, pretended=False)

    status = status_document(replace(situation(Backlog(95)), changes=(change,)), {}, NOW)

    assert status["history"] == [
        {
            "time": "2026-03-01T12:00:00Z",
            "from": 4,
            "to": 10,
            "reason": "Backlog",
            "message": "95 waiting at 10 per replica ask for 10: 10 replicas",
        }
    ]


def test_a_change_that_was_only_pretended_is_marked_as_such() -> None:
    decision = decide(Observation(NOW, 4, Backlog(95)), parse(stored()).policy)

    change = change_document(4, decision, NOW, pretended=True)

    assert change["message"] == "dry run: 95 waiting at 10 per replica ask for 10: 10 replicas"


@pytest.mark.parametrize(("warning", "kind"), [(False, "Normal"), (True, "Warning")])
def test_an_event(warning: bool, kind: str) -> None:  # noqa: FBT001
    event = event_document(
        situation(Backlog(0)).record,
        reason="Backlog",
        note="n" * 2_000,
        warning=warning,
        now=NOW,
        instance="operator-0",
    )

    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "images-", "namespace": "shop"},
        "eventTime": "2026-03-01T12:00:00.250000Z",
        "type": kind,
        "reason": "Backlog",
        "note": "n" * 1_024,  # the API takes no more
        "action": "Scaling",
        "reportingController": "workerpool.dev/operator",
        "reportingInstance": "operator-0",
        "regarding": {
            "apiVersion": "workerpool.dev/v1alpha1",
            "kind": "WorkerPool",
            "name": "images",
            "namespace": "shop",
            "uid": "uid",
        },
    }


@pytest.mark.parametrize(
    ("replicas", "ready", "status", "words"),
    [
        (0, 0, ("False", "WorkersNotReady"), "0 of 0 worker pods are ready. Others have no place"),
        (1, 0, ("False", "WorkersNotReady"), "0 of 1 worker pods are ready. Others have no place"),
        (3, 2, ("True", "Ready"), "2 of 3 worker pods are ready. Others have no place"),
    ],
)
def test_a_pool_is_not_ready_while_none_of_its_pods_has_a_place(
    replicas: int, ready: int, status: tuple[str, str], words: str
) -> None:
    now = situation(Backlog(90), replicas=replicas, ready=ready)
    assert now.record.pool is not None
    seen = Observation(NOW, replicas, Backlog(90), places=Places(0, 1, refusal="n1 is odd"))
    decision = decide(seen, now.record.pool.policy)

    document = status_document(replace(now, decision=decision), {}, NOW)

    assert conditions(document)["Ready"] == status
    (told,) = [c["message"] for c in document["conditions"] if c["type"] == "Ready"]
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("places", "called", "reason", "words"),
    [
        (Places(2, 1), None, "InsufficientCores", "7 cores missing: 9 replicas wanted"),
        (Places(2, 1), Reason.BUSY, "InsufficientCores", "7 cores missing: 9 replicas wanted"),
        (Places(2, 1, refusal="n1 is odd"), None, "PodsRejected", "7 of 9 replicas have no place"),
    ],
)
def test_cores_that_are_missing_are_told_whatever_else_is_the_reason(
    places: Places, called: Reason | None, reason: str, words: str
) -> None:
    now = situation(Backlog(90), replicas=2, ready=2)
    assert now.record.pool is not None
    decision = decide(Observation(NOW, 2, Backlog(90), places=places), now.record.pool.policy)
    decision = replace(decision, reason=called or decision.reason)

    status = status_document(replace(now, decision=decision), {}, NOW)

    known, named, told = scaling_limited(status)
    assert (known, named) == ("True", reason)
    assert told.startswith(words)
