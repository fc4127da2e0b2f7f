"""The way down, against a ReplicaSet and workers in memory, on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from support.retirement_world import Mischief, Operator, World
from workerpool_operator.closing import CLOSED, PATIENCE_SECONDS, SEEN_SECONDS
from workerpool_operator.errors import ApplyFailed, Forbidden, Unreadable
from workerpool_operator.model import Reason
from workerpool_operator.retirement import RECALL_SECONDS
from workerpool_operator.victims import HASH_LABEL

# Nothing comes from outside, so the clock need not wait for it before it moves.
pytestmark = pytest.mark.looptime(noop_cycles=0)


@pytest.fixture
def world() -> World:
    world = World()
    world.add(5)
    return world


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Operator]:
    operator = Operator(world)
    yield operator
    operator.retirement.close()


def jobs(world: World, *numbers: int) -> None:
    for number in numbers:
        assert world.claim(f"images-worker-{number}")


async def test_idle_pods_go_and_busy_ones_stay(world: World, operator: Operator) -> None:
    jobs(world, 1, 3, 4)
    operator.desired = 0
    await operator.until(lambda: len(world.pods) == 3)
    assert sorted(world.taken) == ["images-worker-2", "images-worker-5"]
    assert world.interrupted == []
    await operator.run(2)
    assert operator.decision is not None
    assert operator.decision.reason is Reason.BUSY
    assert operator.decision.message == "so it is, but only 0 of 3 pods are idle: 3 replicas"


async def test_the_rest_follows_as_it_becomes_idle(world: World, operator: Operator) -> None:
    jobs(world, 1, 3)
    operator.desired = 0
    await operator.until(lambda: len(world.pods) == 2)
    world.finish("images-worker-3")
    await operator.until(lambda: len(world.pods) == 1)
    world.finish("images-worker-1")
    await operator.until(lambda: not world.pods)
    assert world.taken[-2:] == ["images-worker-3", "images-worker-1"]
    assert world.interrupted == []


async def test_those_who_go_can_claim_nothing_from_before_the_scale_is_written(
    world: World, operator: Operator
) -> None:
    operator.desired = 0
    await operator.until(lambda: bool(world.closed))
    assert world.replicas == 5
    assert not any(world.claim(name) for name in list(world.pods)), "closed, all of them"
    await operator.until(lambda: not world.pods)


async def test_pods_are_the_cheapest_before_the_scale_is_written_and_that_is_seen(
    world: World, operator: Operator
) -> None:
    operator.desired = 3
    marked = None
    while world.replicas == 5:
        operator.decide()
        await asyncio.sleep(0.01)
        if marked is None and any(pod["metadata"]["annotations"] for pod in world.pods.values()):
            marked = world.now
    assert marked is not None
    assert world.now - marked >= SEEN_SECONDS - 0.02


async def test_load_that_returns_calls_the_closed_pods_back(
    world: World, operator: Operator
) -> None:
    operator.desired = 2
    await operator.until(lambda: len(world.closed) == 3)
    operator.desired = 5
    await operator.until(lambda: not world.closed, seconds=1)
    await operator.run(5)
    assert world.replicas == 5
    assert world.taken == []
    assert all(world.claim(name) for name in list(world.pods))


async def test_load_that_returns_in_part_calls_some_of_them_back(
    world: World, operator: Operator
) -> None:
    operator.desired = 1
    await operator.until(lambda: len(world.closed) == 4)
    operator.desired = 4
    await operator.until(lambda: len(world.pods) == 4)
    await operator.run(3)
    assert world.closed == set()
    assert len(world.pods) == 4


async def test_a_job_that_comes_while_one_looks_saves_its_pod(
    world: World, operator: Operator
) -> None:
    world.before["EVAL"] = lambda: jobs(world, 1)
    operator.desired = 4
    await operator.until(lambda: len(world.pods) == 4)
    assert world.interrupted == []
    assert "images-worker-1" in world.pods


async def test_a_deployment_that_changed_meanwhile_is_looked_at_anew(
    world: World, operator: Operator
) -> None:
    operator.desired = 2

    def another() -> None:
        world.version += 1

    while operator.conflicts == 0:
        # Between its last look at the version and the write, whenever that is.
        operator.decide()
        if operator.decision is not None and operator.decision.desired < 5:
            another()
        await asyncio.sleep(0.001)
    assert world.replicas == 5
    await operator.until(lambda: len(world.pods) == 2)


async def test_pods_of_another_deployment_with_the_same_labels_are_left_alone(
    world: World, operator: Operator
) -> None:
    owner = {"kind": "ReplicaSet", "name": "other-1", "uid": "other", "controller": True}
    labels = {HASH_LABEL: "1"}
    world.others = [
        pod
        | {
            "metadata": pod["metadata"]
            | {"name": name, "labels": labels}
            | {"ownerReferences": [owner]}
        }
        for name, pod in zip(("other-1-a", "other-1-b"), world.pods.values(), strict=False)
    ]
    jobs(world, 1)
    operator.desired = 0
    await operator.until(lambda: len(world.pods) == 1)
    await operator.run(2)
    assert operator.decision is not None
    assert operator.decision.message == "so it is, but only 0 of 1 pods are idle: 1 replica"
    assert not {"other-1-a", "other-1-b"} & world.retired.keys()


async def test_a_template_that_changes_meanwhile_stops_it(
    world: World, operator: Operator
) -> None:
    operator.desired = 2
    await operator.until(lambda: bool(world.closed))
    world.template = "another"
    world.generation += 1
    world.version += 1
    await operator.run(5)
    assert world.replicas == 5
    assert world.closed == set(), "called back: a rollout takes whom it likes"
    assert operator.decision is not None
    assert operator.decision.reason is Reason.ROLLING_OUT


async def test_pods_that_were_spared_are_called_back(world: World, operator: Operator) -> None:
    """Somebody deleted another pod just then, so there was one less to take."""
    operator.desired = 3
    while world.replicas == 5:
        operator.decide()
        await asyncio.sleep(0.01)
    (gone, *_) = sorted(set(world.pods) - world.closed)
    world.leave(gone)
    await operator.until(lambda: len(world.pods) == 3)
    await operator.until(lambda: not world.closed, seconds=5)
    assert len(world.taken) == 1


async def test_costs_that_were_left_behind_do_no_harm(world: World, operator: Operator) -> None:
    operator.desired = 4
    await operator.until(
        lambda: any(pod["metadata"]["annotations"] for pod in world.pods.values())
    )
    operator.desired = 5
    await operator.until(lambda: not world.closed)
    (cheap,) = [n for n, pod in world.pods.items() if pod["metadata"]["annotations"]]
    assert world.claim(cheap)
    operator.desired = 1
    await operator.until(lambda: len(world.pods) == 1)
    assert list(world.pods) == [cheap]
    assert world.interrupted == []


async def test_a_successor_goes_on_where_an_operator_vanished(world: World) -> None:
    for steps in range(0, 60, 4):
        first = Operator(world)
        world.replicas = 5
        world.add(5 - len(world.pods))
        first.desired = 2
        for _ in range(steps):
            first.decide()
            await asyncio.sleep(0.01)
        first.vanish()
        second = Operator(world)
        second.desired = 2
        await second.until(lambda: len(world.pods) == 2)
        second.retirement.close()
    assert world.interrupted == []


async def test_a_successor_that_sends_nobody_away_calls_back_whom_another_closed(
    world: World,
) -> None:
    first = Operator(world)
    first.desired = 2
    await first.until(lambda: len(world.closed) == 3)
    first.vanish()
    second = Operator(world)
    await second.until(lambda: not world.closed, seconds=2)
    second.vanish()
    assert world.taken == []


async def test_a_successor_does_not_call_back_who_is_on_the_way_out(world: World) -> None:
    """The scale is written, and the ReplicaSet takes its time."""
    first = Operator(world)
    first.desired = 2
    await first.until(lambda: world.replicas == 2)
    world.add(5 - len(world.pods))
    first.vanish()
    world.retired |= dict.fromkeys(world.pods, world.now + CLOSED.total_seconds())
    second = Operator(world)
    await second.run(10)
    assert len(world.closed) == 5
    await second.until(lambda: len(world.pods) == 2)
    await second.until(lambda: not world.closed, seconds=3)
    second.vanish()


async def test_a_scale_that_a_predecessor_wrote_late_takes_nobody_who_was_called_back(
    world: World,
) -> None:
    world.latency = {"scale": 20}
    first = Operator(world)
    first.desired = 2
    await first.until(lambda: first.decision is not None and first.decision.desired == 2)
    await asyncio.sleep(1)
    first.vanish(late=True)
    second = Operator(world)
    await second.until(lambda: not world.closed, seconds=2)
    jobs(world, 1, 2, 3, 4, 5)
    await second.run(20)
    world.replica_set()
    second.vanish()
    assert first.conflicts == 1
    assert world.interrupted == []
    assert world.replicas == 5


async def test_where_nobody_is_closed_an_operator_that_begins_asks_the_api_server_nothing(
    world: World, operator: Operator
) -> None:
    await operator.run(5)
    assert world.asked == ["ZRANGE"]


async def test_what_a_vanished_operator_closed_opens_by_itself(
    world: World, operator: Operator
) -> None:
    operator.desired = 0
    await operator.until(lambda: len(world.closed) == 5)
    operator.retirement.close()
    await asyncio.sleep(CLOSED.total_seconds() + 1)
    jobs(world, 1, 2, 3, 4, 5)


async def test_a_redis_that_is_away_when_load_returns_is_complained_about_once_a_cause(
    world: World, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    operator.desired = 0
    for outages in (1, 2):
        world.add(1)
        world.replicas = len(world.pods)
        await operator.until(lambda: bool(world.closed))
        operator.desired = world.replicas
        for words in ("away", "still loading"):
            world.trouble = {"ZREM": Unreadable(words)}
            await operator.run(6 * RECALL_SECONDS)
        world.trouble = {}
        await operator.until(lambda: not world.closed)
        complaints = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert complaints == outages * [
            "pods cannot be called back: away",
            "pods cannot be called back: still loading",
        ]
        operator.desired = 0


async def test_a_redis_that_is_away_when_load_returns_is_told_when_it_is_back(
    world: World, operator: Operator
) -> None:
    operator.desired = 0
    await operator.until(lambda: len(world.closed) == 5)
    world.trouble = {"ZREM": Unreadable("away")}
    operator.desired = 5
    await operator.run(3)
    assert len(world.closed) == 5
    world.trouble = {}
    await operator.run(2 * RECALL_SECONDS)
    assert not world.closed, "and not only when their marks end"


async def test_an_operator_that_is_told_to_end_calls_back_whom_it_closed(
    world: World, operator: Operator
) -> None:
    jobs(world, 1)  # so that the others get a price before they go
    operator.desired = 0
    await operator.until(lambda: len(world.closed) == 4)
    operator.vanish()
    await operator.retirement.call_back()
    assert not world.closed


async def test_an_operator_that_ends_leaves_those_alone_whose_scale_is_written(
    world: World, operator: Operator
) -> None:
    operator.desired = 0
    await operator.until(lambda: world.replicas == 0)
    closed = set(world.retired)
    operator.retirement.close()
    await operator.retirement.call_back()
    assert set(world.retired) == closed, "on their way they must claim nothing"


async def test_marks_that_may_end_before_their_pods_are_told_to_go_are_renewed_first(
    world: World, operator: Operator
) -> None:
    longer = CLOSED.total_seconds() + 2
    world.latency = {"price_pod": longer}
    jobs(world, 5)
    operator.desired = 0
    await operator.until(lambda: len(world.closed) == 4)
    world.latency = {}  # of the requests that are still to come
    await operator.run(longer - 1)
    jobs(world, 1, 2)
    await operator.until(lambda: len(world.pods) == 3)
    assert world.interrupted == []


async def test_without_the_right_to_pods_it_goes_down_as_it_always_did_and_says_so(
    world: World, operator: Operator
) -> None:
    world.trouble["list_pods"] = Forbidden("GET pods: 403")
    operator.desired = 2
    await operator.until(lambda: len(world.pods) == 2)
    assert len(world.warnings) == 1
    assert "403" in world.warnings[0]


async def test_a_redis_that_forbids_it_is_the_same(world: World, operator: Operator) -> None:
    world.trouble["EVAL"] = Unreadable("grant what …", reason="PermissionDenied")
    operator.desired = 2
    await operator.until(lambda: len(world.pods) == 2)
    assert len(world.warnings) == 1


async def test_workers_that_do_not_report_go_as_they_always_did(
    world: World, operator: Operator
) -> None:
    world.reports = False
    operator.desired = 2
    await operator.until(lambda: len(world.pods) == 2)
    assert world.warnings == []
    assert world.retired == {}


@pytest.mark.parametrize("call", ["read_deployment", "list_pods", "ZRANGE", "EVAL", "price_pod"])
async def test_what_fails_holds_the_replicas_and_is_tried_again(
    world: World, operator: Operator, call: str
) -> None:
    failure = (Unreadable if call.isupper() else ApplyFailed)("no answer")
    world.trouble[call] = failure
    operator.desired = 2
    await operator.run(3 * PATIENCE_SECONDS)
    assert world.replicas == 5
    assert operator.decision is not None
    assert operator.decision.reason is Reason.RETIRING
    assert "its idle pods cannot be found: no answer" in operator.decision.message
    del world.trouble[call]
    await operator.until(lambda: len(world.pods) == 2)


async def test_a_scale_that_cannot_be_written_leaves_nobody_closed_for_good(
    world: World, operator: Operator
) -> None:
    world.trouble["scale"] = ApplyFailed("no answer")
    operator.desired = 2
    await operator.run(5)
    assert len(world.closed) == 3
    operator.desired = 5
    await operator.until(lambda: not world.closed, seconds=2)


async def test_it_does_not_look_more_often_than_it_has_patience(
    world: World, operator: Operator
) -> None:
    jobs(world, 1, 2, 3, 4, 5)
    looks = 0
    listed = world.list_pods

    async def counted(*words):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202
        nonlocal looks
        looks += 1
        return await listed(*words)

    world.list_pods = counted  # type: ignore[method-assign]
    operator.desired = 0
    await operator.run(10)
    assert 5 <= looks <= 11


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_no_scale_in_takes_a_pod_at_work(seed: int) -> None:
    """Jobs come and go, pods die and start, edits collide, the operator is replaced."""
    chance = Random(seed)
    world = World(chance)
    world.add(chance.randrange(1, 9))
    mischief = Mischief(world, chance)
    for _ in range(400):
        mischief.step()
        mischief.operator.decide()
        await asyncio.sleep(chance.choice([0.001, 0.01, 0.1, 0.3]))
        if chance.random() < 0.7:
            world.replica_set()
    operator = mischief.operator
    world.trouble = {}
    for name in list(world.pods):
        world.finish(name)
        world.ready(name, "True")
    operator.desired = 0
    await operator.until(lambda: not world.pods)
    operator.retirement.close()
    assert world.interrupted == []
    assert len(world.taken) > 3, "something was taken"
