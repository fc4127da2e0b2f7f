"""A Deployment, its pods and its queue in memory, as `workerpool_operator.retirement` sees them.

It plays the API server, Redis, the workers and the ReplicaSet, which takes what it likes where
Kubernetes leaves that open. What a scale-in did to pods at work is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from workerpool_operator.decide import NO_HISTORY
from workerpool_operator.errors import ApplyFailed, Conflict, NotFound, Unreadable
from workerpool_operator.model import Decision, Reason
from workerpool_operator.registry import DeploymentRecord
from workerpool_operator.resource import Key
from workerpool_operator.retirement import Retirement
from workerpool_operator.victims import COST_ANNOTATION, HASH_LABEL, pods_of

KEY = Key("shop", "images-worker")
QUEUE = "queue:images"
LATENCY = 0.005


@dataclass
class World:
    """Everything outside of the operator."""

    chance: Random = field(default_factory=lambda: Random(1))
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    """Pods of another controller, with the same labels."""
    leases: set[str] = field(default_factory=set)
    retired: dict[str, float] = field(default_factory=dict)
    idle_since: dict[str, int] = field(default_factory=dict)
    replicas: int = 0
    version: int = 1
    generation: int = 1
    interrupted: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Pods in the order in which the ReplicaSet took them."""
    warnings: list[str] = field(default_factory=list)
    trouble: dict[str, Exception] = field(default_factory=dict)
    """What fails, by the name of the call, until it is taken out."""
    latency: dict[str, float] = field(default_factory=dict)
    """Calls that take longer than usual, in seconds."""
    asked: list[str] = field(default_factory=list)
    """The calls, in order."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What happens once, just before a call is answered."""
    template: str = "rs"
    made: int = 0
    reports: bool = True

    # --- pods and their workers

    def add(self, count: int) -> None:
        """Have so many pods more, ready and idle."""
        for _ in range(count):
            self.made += 1
            name = f"images-worker-{self.made}"
            self.pods[name] = {
                "metadata": {
                    "name": name,
                    "labels": {HASH_LABEL: self.template},
                    "annotations": {},
                    "ownerReferences": [
                        {
                            "kind": "ReplicaSet",
                            "name": f"{KEY.name}-{self.template}",
                            "uid": self.template,
                            "controller": True,
                        }
                    ],
                },
                "spec": {"nodeName": "node-1"},
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            self.idle_since[name] = self.made
            self.version += 1  # the Deployment's status says how many there are
        self.replicas = self.replicas or len(self.pods)

    def ready(self, name: str, status: str) -> None:
        """Say whether a pod is ready."""
        self.pods[name]["status"]["conditions"][0]["status"] = status

    def claim(self, name: str) -> bool:
        """Let a pod's worker ask for a job; returns whether it got one."""
        if name not in self.pods or self.pods[name]["status"]["conditions"][0]["status"] != "True":
            return False
        if self.retired.get(name, 0) > self.now or name in self.busy:
            return False
        self.leases.add(f"w@{name}-{self.chance.randrange(10**9)}" if self.reports else name)
        return True

    def finish(self, name: str) -> None:
        """End a pod's job."""
        self.leases = {lease for lease in self.leases if self.pod_of(lease) != name}
        self.idle_since[name] = int(self.now * 1000) + 1000

    @staticmethod
    def pod_of(lease: str) -> str:
        """Return the pod that holds a lease."""
        return lease.partition("@")[2].rpartition("-")[0]

    @property
    def busy(self) -> set[str]:
        """Pods with a job."""
        return {self.pod_of(lease) for lease in self.leases}

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return asyncio.get_running_loop().time()

    def replica_set(self) -> None:
        """Take away what is too much."""
        count = len(self.pods) - self.replicas
        ranked = sorted(
            pods_of(list(self.pods.values()), KEY.name),
            key=lambda pod: (pod.stage, pod.cost, self.chance.random()),
        )
        for pod in ranked[: max(0, count)]:
            if pod.name in self.busy:
                self.interrupted.append(pod.name)
            self.taken.append(pod.name)
            self.leave(pod.name)

    def leave(self, name: str) -> None:
        """End a pod in good order."""
        self.finish(name)
        del self.pods[name]
        self.version += 1

    # --- the API server

    async def _answer(self, call: str) -> None:
        self.asked.append(call)
        await asyncio.sleep(self.latency.get(call, LATENCY))
        if call in self.before:
            self.before.pop(call)()
        if call in self.trouble:
            raise self.trouble[call]

    async def read_deployment(self, key: Key) -> dict[str, Any]:
        """Return the Deployment."""
        assert key == KEY
        await self._answer("read_deployment")
        owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in self.pods.values()}
        return {
            "metadata": {"resourceVersion": str(self.version), "generation": self.generation},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"pool": "images"}},
                "template": {"spec": {"containers": [{"name": "worker"}]}},
            },
            "status": {
                "observedGeneration": self.generation,
                "replicas": len(self.pods),
                "updatedReplicas": len(self.pods) if owners <= {self.template} else 0,
            },
        }

    async def list_pods(self, namespace: str, selector: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the pods."""
        assert (namespace, selector) == ("shop", {"matchLabels": {"pool": "images"}})
        await self._answer("list_pods")
        return [
            {
                **pod,
                "metadata": {**pod["metadata"], "annotations": {**pod["metadata"]["annotations"]}},
            }
            for pod in (*self.pods.values(), *self.others)
        ]

    async def touch_deployment(self, key: Key, version: int) -> None:
        """Annotate the Deployment."""
        assert key == KEY
        assert version <= self.version
        await self._answer("touch_deployment")
        self.version += 1

    async def price_pod(self, key: Key, cost: int) -> None:
        """Annotate a pod."""
        await self._answer("price_pod")
        if key.name not in self.pods:
            raise NotFound(key.name)
        self.pods[key.name]["metadata"]["annotations"][COST_ANNOTATION] = str(cost)

    def scale(self, replicas: int, version: int) -> None:
        """Write the scale, if nothing came between."""
        if version and version != self.version:
            raise Conflict("the object has been modified")
        self.replicas = replicas
        self.version += 1
        self.generation += 1

    # --- Redis

    async def ask(self, queue: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Answer commands."""
        assert queue == QUEUE
        await self._answer(str(commands[0][0]) if commands else "nothing")
        return [self._command(*command) for command in commands]

    def _command(self, *words: Any) -> Any:  # noqa: ANN401
        match words:
            case ("ZRANGE", key, 0, -1) if key.endswith("inflight"):
                return [lease.encode() for lease in self.leases]
            case ("ZRANGE", key, 0, -1) if key.endswith("workers"):
                return [f"w@{name}".encode() for name in self.pods if self.reports]
            case ("ZRANGE", key, 0, -1) if key.endswith("retired"):
                return [name.encode() for name in self.retired]
            case ("HGET", key, "idle"):
                pod = key.partition("@")[2]
                return f"w@{pod}-1 {self.idle_since[pod]}".encode()
            case ("EVAL", _, 2, _, _, milliseconds, *pods):
                closed = [pod for pod in pods if pod not in self.busy]
                self.retired |= dict.fromkeys(closed, self.now + milliseconds / 1000)
                return [pod.encode() for pod in closed]
            case ("ZREM", key, *pods) if key.endswith("retired"):
                for pod in pods:
                    self.retired.pop(pod, None)
                return len(pods)
        raise Unreadable(f"what is {words}?")

    @property
    def closed(self) -> set[str]:
        """Pods that get no jobs now, and are there."""
        return {name for name, until in self.retired.items() if until > self.now} & set(self.pods)


class Operator:
    """What reconciling does with a retirement: decide, allow, write."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desired = world.replicas
        self.decision: Decision | None = None
        self.conflicts = 0
        self.retirement = Retirement(
            world,  # type: ignore[arg-type]  # as much of a Cluster as it asks for
            world.ask,
            asyncio.Semaphore(8),
            changed=self.decide,
            warn=world.warnings.append,
        )
        self._write: asyncio.Task[None] | None = None
        self._vanished = False

    def decide(self) -> None:
        """Take in what is called for now."""
        world = self.world
        if self._vanished:
            return
        record = DeploymentRecord(KEY, "", world.version, world.replicas, 0, True, "", "")  # noqa: FBT003
        words = f"so it is: {self.desired}"
        decision = Decision(self.desired, Reason.IDLE, self.desired, words, history=NO_HISTORY)
        self.decision = self.retirement.allow(decision, record, QUEUE)
        writes = self._write is not None and not self._write.done()
        if self.decision.desired != world.replicas and not writes:
            self._write = asyncio.create_task(self._scale(self.decision.desired))

    def vanish(self, *, late: bool = False) -> None:
        """End without a chance to tidy up; what was being written is written or not.

        `late`: it is on its way, and written when it arrives.
        """
        self.retirement.close()
        self._vanished = True
        if self._write is not None and not late:
            self._write.cancel()

    async def _scale(self, replicas: int) -> None:
        world = self.world
        await asyncio.sleep(LATENCY / 2)
        if replicas > world.replicas:
            world.scale(replicas, 0)
            world.add(replicas - len(world.pods))
            return
        try:
            async with self.retirement.lowering(replicas) as version:
                if version is not None:
                    await asyncio.sleep(world.latency.get("scale", LATENCY))
                    if "scale" in world.trouble:
                        raise world.trouble["scale"]
                    world.scale(replicas, version)
        except Conflict:
            self.conflicts += 1
        except ApplyFailed:
            pass
        self.decide()

    async def run(
        self, seconds: float, every: Callable[[], Awaitable[None] | None] = lambda: None
    ) -> None:
        """Tick."""
        end = self.world.now + seconds
        while self.world.now < end:
            every()
            self.decide()
            await asyncio.sleep(0.05)

    async def until(self, look: Callable[[], bool], seconds: float = 60.0) -> None:
        """Tick until something is so; the ReplicaSet does its work beside it."""
        end = self.world.now + seconds
        while not look():
            assert self.world.now < end, f"not within {seconds} s: {self.decision}"
            self.decide()
            await asyncio.sleep(0.004)
            self.world.replica_set()


class Mischief:
    """Whatever can happen around a scale-in, at random."""

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.operator = Operator(world)

    def step(self) -> None:
        """Have one thing happen."""
        often, seldom = (self._claims, self._ends), (self._wish, self._death, self._readiness)
        outside = (self._edit, self._successor, self._slowness, self._trouble, self._peace)
        self.chance.choice((*often, *often, *seldom, *outside))()

    def _half(self) -> list[str]:
        return [name for name in self.world.pods if self.chance.random() < 0.5]

    def _claims(self) -> None:
        for name in self._half():
            self.world.claim(name)

    def _ends(self) -> None:
        for name in self._half():
            self.world.finish(name)

    def _wish(self) -> None:
        self.operator.desired = self.chance.randrange(9)

    def _death(self) -> None:
        """A pod is deleted by somebody, and another is made in its place."""
        if self.world.pods and self.chance.random() < 0.3:
            self.world.leave(self.chance.choice(list(self.world.pods)))
            self.world.add(self.world.replicas - len(self.world.pods))

    def _readiness(self) -> None:
        """A pod that becomes unready at work goes first, and nobody can see that coming: its job
        is finished within its grace. So here it happens to idle ones alone.
        """
        idle = [name for name in self.world.pods if name not in self.world.busy]
        for name in idle[:1]:
            self.world.ready(name, self.chance.choice(["True", "True", "False"]))

    def _edit(self) -> None:
        self.world.version += 1

    def _successor(self) -> None:
        if self.chance.random() < 0.2:
            desired = self.operator.desired
            self.operator.vanish(late=self.chance.random() < 0.5)
            self.operator = Operator(self.world)
            self.operator.desired = desired

    def _slowness(self) -> None:
        self.world.latency = {"scale": self.chance.choice([LATENCY, 0.5, 5.0])}

    def _trouble(self) -> None:
        calls = ["list_pods", "EVAL", "price_pod", "touch_deployment", "scale", "ZREM"]
        call = self.chance.choice(calls)
        self.world.trouble = {call: (Unreadable if call.isupper() else ApplyFailed)("no")}

    def _peace(self) -> None:
        self.world.trouble = {}
