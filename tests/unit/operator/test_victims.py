"""Whom a scale-in may take, held against a ReplicaSet that takes whom it likes best."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool_operator.decide import NO_HISTORY
from workerpool_operator.model import Decision, Reason
from workerpool_operator.victims import (
    COST_ANNOTATION,
    HASH_LABEL,
    Pod,
    Roster,
    Stage,
    costs,
    hold_back,
    plan,
    pods_of,
)


def pods(count: int, stage: Stage = Stage.READY) -> tuple[Pod, ...]:
    return tuple(Pod(f"pod-{number}", "rs", stage) for number in range(count))


def roster(idle: Mapping[str, int | None], *busy: str, nameless: int = 0) -> Roster:
    return Roster(frozenset(busy), idle, nameless)


def names(victims: tuple[Pod, ...]) -> list[str]:
    return [pod.name for pod in victims]


def went_down(
    found: tuple[Pod, ...], known: Roster, desired: int, *, rolling: bool = False
) -> Any:  # noqa: ANN401
    return plan(found, known, replicas=len(found), desired=desired, rolling=rolling)


def test_those_that_are_idle_longest_go_first() -> None:
    known = roster({"pod-0": 300, "pod-1": 100, "pod-2": 200, "pod-3": None})
    found = went_down(pods(4), known, 2)
    assert (names(found.victims), found.target, found.reason) == (["pod-1", "pod-2"], 2, None)
    assert names(went_down(pods(4), known, 1).victims)[-1] == "pod-0", "the unknown goes last"


def test_a_pod_at_work_is_never_among_them() -> None:
    found = went_down(pods(5), roster({"pod-1": 1, "pod-3": 2}, "pod-0", "pod-2", "pod-4"), 0)
    assert sorted(names(found.victims)) == ["pod-1", "pod-3"]
    assert (found.target, found.reason) == (3, Reason.BUSY)
    assert found.words == "only 2 of 5 pods are idle"


def test_with_nobody_idle_nobody_goes() -> None:
    found = went_down(pods(2), roster({}, "pod-0", "pod-1"), 1)
    assert (found.victims, found.target) == ((), 2)
    assert found.words == "only 0 of 2 pods are idle"


def test_pods_that_only_start_go_before_all_others() -> None:
    found = (*pods(2), Pod("new", "rs", Stage.PENDING), Pod("newer", "rs", Stage.UNASSIGNED))
    result = went_down(found, roster({"pod-0": 1}, "pod-1"), 1)
    assert names(result.victims) == ["newer", "new", "pod-0"]


def test_a_busy_pod_that_is_not_ready_bars_the_way_to_idle_ones_that_are() -> None:
    """The ReplicaSet would take it first, whatever the others cost."""
    found = (*pods(3), Pod("late", "rs", Stage.NOT_READY), Pod("early", "rs", Stage.PENDING))
    result = went_down(found, roster({"pod-0": 1, "pod-1": 1, "pod-2": 1}, "late"), 1)
    assert names(result.victims) == ["early"]
    assert (result.target, result.reason) == (4, Reason.BUSY)
    assert result.words == "only 4 of 5 pods are idle, and one that is not ready has a job"


def test_replicas_without_a_pod_go_first_and_need_nobodys_leave() -> None:
    known = roster({"pod-1": 1}, "pod-0")
    assert plan((), Roster(), replicas=5, desired=1, rolling=False).target == 1
    found = plan(pods(2), known, replicas=5, desired=1, rolling=False)
    assert (names(found.victims), found.target) == (["pod-1"], 1)
    found = plan(pods(2), known, replicas=5, desired=0, rolling=False)
    assert (names(found.victims), found.target, found.reason) == (["pod-1"], 1, Reason.BUSY)
    found = plan(pods(2), known, replicas=5, desired=3, rolling=False)
    assert (found.victims, found.target, found.reason) == ((), 3, None)


def test_pods_that_still_have_to_go_count_for_nothing_new() -> None:
    """The scale was lowered to 3 already, and the ReplicaSet did not get to it yet."""
    known = roster({"pod-0": 1, "pod-1": 1}, "pod-2", "pod-3", "pod-4")
    found = plan(pods(5), known, replicas=3, desired=1, rolling=False)
    assert (names(found.victims), found.target) == (["pod-0", "pod-1"], 3)


def test_those_that_were_made_cheap_before_go_before_those_that_are_idle_longer() -> None:
    first, second, third = pods(3)
    found = (first, second, replace(third, cost=-1))
    known = roster({"pod-0": 1, "pod-1": 2, "pod-2": 3})
    assert names(went_down(found, known, 2).victims) == ["pod-2"]


def test_during_a_rollout_all_go_or_none() -> None:
    idle = roster({"pod-0": 1, "pod-1": 1, "pod-2": 1})
    found = went_down(pods(3), idle, 1, rolling=True)
    assert (found.victims, found.target, found.reason) == ((), 3, Reason.ROLLING_OUT)
    other = (*pods(2), Pod("pod-2", "another", Stage.READY))
    assert went_down(other, idle, 1).reason is Reason.ROLLING_OUT
    assert len(went_down(other, idle, 0).victims) == 3
    one_works = roster({"pod-0": 1, "pod-1": 1}, "pod-2")
    assert went_down(other, one_works, 0).target == 3


@pytest.mark.parametrize(
    "known",
    [
        Roster(),
        roster({"another-pools": 1}),
        roster({"pod-0": 1}, nameless=1),
        replace(roster({"pod-0": 1, "pod-1": 1}), strangers=frozenset({"pod-1"})),
    ],
    ids=[
        "no leases at all",
        "others alone report",
        "a lease of nobody knows whom",
        "a pod that serves queues which were not asked",
    ],
)
def test_workers_that_do_not_report_leave_no_choice(known: Roster) -> None:
    assert went_down(pods(3), known, 1).blind


def test_pods_of_another_pool_may_serve_what_they_like() -> None:
    known = replace(roster({"pod-0": 1, "pod-1": 1}), strangers=frozenset({"another-pools"}))
    assert names(went_down(pods(2), known, 1).victims) == ["pod-0"]


def test_while_the_queues_of_a_template_change_nobody_goes() -> None:
    idle = roster({"pod-0": 1, "pod-1": 1, "pod-2": 1})
    known = replace(idle, strangers=frozenset({"pod-2"}))
    found = went_down(pods(3), known, 0, rolling=True)
    assert (found.target, found.reason, found.blind) == (3, Reason.ROLLING_OUT, False)


def test_pods_that_nobody_knows_because_they_only_start_are_no_foreign_image() -> None:
    found = went_down(pods(3, Stage.NOT_READY), Roster(), 1)
    assert not found.blind
    assert len(found.victims) == 2


def test_costs_are_lower_than_whatever_is_there() -> None:
    one, two, three = pods(3)
    assert costs((one, two, three), (two,)) == {"pod-1": -1}
    assert costs((replace(one, cost=-7), two, three), (two,)) == {"pod-1": -8}
    dear, cheap = replace(two, cost=9), replace(two, cost=-1)
    assert costs((replace(one, cost=5), dear, three), (dear,)) == {"pod-1": -1}
    assert costs((one, cheap, three), (cheap,)) == {}, "it is cheap already"
    assert costs((one, two), (one, two)) == {}, "all go: there is nothing to choose"


def test_it_is_said_how_far_it_goes_and_why_no_further() -> None:
    decision = Decision(0, Reason.IDLE, 0, "no jobs: 0 replicas", history=NO_HISTORY)
    held = hold_back(decision, 3, Reason.BUSY, "only 2 of 5 pods are idle")
    assert (held.desired, held.reason, held.demand) == (3, Reason.BUSY, 0)
    assert held.message == "no jobs, but only 2 of 5 pods are idle: 3 replicas"
    assert hold_back(decision, 1, Reason.BUSY, "it is so").message.endswith(": 1 replica")


# --- held against the ReplicaSet

STAGES = st.sampled_from(list(Stage))
PODS = st.lists(
    st.tuples(STAGES, st.sampled_from([0, 0, 0, -1, -3, 4]), st.booleans()), max_size=8
)


def replica_set_takes(found: list[Pod], count: int, chance: Random) -> list[Pod]:
    """Rank as Kubernetes does (ActivePodsWithRanks); what comes after the cost is anybody's."""
    return sorted(found, key=lambda pod: (pod.stage, pod.cost, chance.random()))[:count]


@given(PODS, st.integers(0, 10), st.integers(0, 8), st.randoms(use_true_random=False))
def test_the_replica_set_takes_the_chosen_and_no_pod_at_work(
    facts: list[tuple[Stage, int, bool]], replicas: int, desired: int, chance: Random
) -> None:
    found = tuple(Pod(f"pod-{n}", "rs", *fact[:2]) for n, fact in enumerate(facts))
    busy = {pod.name for pod, fact in zip(found, facts, strict=True) if fact[2]}
    idle = {pod.name: chance.choice([None, 1, 2]) for pod in found if pod.name not in busy}
    result = plan(
        found,
        roster(idle, *busy),
        replicas=replicas,
        desired=min(desired, replicas),
        rolling=False,
    )
    assert min(desired, replicas) <= result.target <= replicas
    if result.target == replicas:
        return  # nothing is written
    written = costs(found, result.victims)
    priced = [replace(pod, cost=written.get(pod.name, pod.cost)) for pod in found]
    taken = replica_set_takes(priced, max(0, len(found) - result.target), chance)
    assert {pod.name for pod in taken} <= set(names(result.victims))
    assert not busy & {pod.name for pod in taken}


@given(PODS, st.integers(0, 8))
def test_it_goes_as_far_as_it_safely_can(
    facts: list[tuple[Stage, int, bool]], desired: int
) -> None:
    """No victim is left out: one more, in the order of the ReplicaSet, has a job."""
    found = tuple(Pod(f"pod-{n}", "rs", *fact[:2]) for n, fact in enumerate(facts))
    busy = {pod.name for pod, fact in zip(found, facts, strict=True) if fact[2]}
    idle = dict.fromkeys((pod.name for pod in found if pod.name not in busy), 1)
    result = plan(
        found,
        roster(idle, *busy),
        replicas=len(found),
        desired=min(desired, len(found)),
        rolling=False,
    )
    if result.target > min(desired, len(found)):
        left = [pod for pod in found if pod not in result.victims]
        first = min(pod.stage for pod in left)
        assert all(pod.name in busy for pod in left if pod.stage is first)


# --- documents


def owned_by(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "uid": "rs", "controller": True}]


def body(name: str = "pod", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    ready = {"type": "Ready", "status": "True"}
    metadata = {
        "name": name,
        "labels": {HASH_LABEL: "5f6"},
        "ownerReferences": owned_by("ReplicaSet", "web-5f6"),
    }
    return {
        "metadata": {**metadata, **changes.get("metadata", {})},
        "spec": {"nodeName": "node-1", **changes.get("spec", {})},
        "status": {"phase": "Running", "conditions": [ready], **changes.get("status", {})},
    }


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({}, Stage.READY),
        ({"spec": {"nodeName": None}}, Stage.UNASSIGNED),
        ({"status": {"phase": "Pending"}}, Stage.PENDING),
        ({"status": {"phase": "Unknown"}}, Stage.UNKNOWN),
        ({"status": {"conditions": None}}, Stage.NOT_READY),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, Stage.NOT_READY),
    ],
)
def test_the_stage_of_a_pod(changes: dict[str, Any], stage: Stage) -> None:
    (pod,) = pods_of([body(**changes)], "web")
    assert pod == Pod("pod", "rs", stage)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}},
        {"status": {"phase": "Failed"}},
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"ownerReferences": []}},
        {"metadata": {"ownerReferences": owned_by("StatefulSet", "web-5f6")}},
        {"metadata": {"ownerReferences": owned_by("ReplicaSet", "other-5f6")}},
        {"metadata": {"ownerReferences": owned_by("ReplicaSet", "web-api-5f6")}},
        {"metadata": {"ownerReferences": owned_by("ReplicaSet", "web"), "labels": None}},
    ],
)
def test_what_is_no_replica_does_not_count(changes: dict[str, Any]) -> None:
    assert pods_of([body(**changes)], "web") == ()


@pytest.mark.parametrize(("text", "cost"), [("-5", -5), ("7", 7), ("cheap", 0), ("", 0)])
def test_the_cost_of_a_pod(text: str, cost: int) -> None:
    (pod,) = pods_of([body(metadata={"annotations": {COST_ANNOTATION: text}})], "web")
    assert pod.cost == cost
