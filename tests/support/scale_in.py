"""Random load on a pool whose jobs take as long as they say, and what its pods lived through.

The pods run the product's image; only the decoding child is the planned one, mounted from a
ConfigMap. Each pod writes its log to the volume, so that it can be read when the pod is gone: a
job that ends after `draining` was running when its pod was told to go.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from support.kubectl import CommandFailed, Document
from support.product import POOL, PhotoPool, is_ready
from support.waiting import eventually

PLAN = "plan"
PARTS = ("planned_child.py", "planned_supervisor.py")
DEPLOYMENT = f"deployment/{POOL}-worker"


def template() -> Document:
    """Return the pod template of such a pool."""
    run = "exec python /plan/planned_supervisor.py >>/photos/logs/$WORKERPOOL_POD 2>&1"
    worker = {
        "name": "worker",
        "command": ["env", "--block-signal=TERM", "sh", "-c", run],  # as the image does
        "volumeMounts": [
            {"name": "photos", "mountPath": "/photos"},
            {"name": PLAN, "mountPath": "/plan"},
        ],
    }
    volumes = [
        {"name": "photos", "persistentVolumeClaim": {"claimName": "photos"}},
        {"name": PLAN, "configMap": {"name": PLAN}},
    ]
    return {"spec": {"containers": [worker], "volumes": volumes}}


@dataclass
class Load:
    """Cycles of load on one pool, and what somebody else did to its pods meanwhile."""

    pool: PhotoPool
    chance: Random
    shortest: float
    longest: float
    pushed: int = 0
    ended: set[str] = field(default_factory=set)
    """Pods that were ended by somebody else than the scale-in."""
    deeds: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Put what the pods need beside the pool."""
        folder = Path(__file__).parent
        data = {name: (folder / name).read_text() for name in PARTS}
        metadata = {"name": PLAN, "namespace": self.pool.namespace}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        self.pool.kubectl.apply(document)
        logs = self.pool.folder / "logs"
        logs.mkdir()
        logs.chmod(0o777)

    def push(self, jobs: int) -> None:
        """Push jobs of random length."""
        payloads = []
        for _ in range(jobs):
            seconds = self.chance.uniform(self.shortest, self.longest)
            name = f"job-{self.pushed}.jpg"
            payloads.append(json.dumps({"filename": name, "plan": f"sleep:{seconds:.2f}"}))
            self.pushed += 1
        self.pool.queue.rpush(self.pool.queue_name, *payloads)

    def await_begun(self) -> None:
        """Wait until a pod is ready, unless all is done before one was seen to be."""
        eventually(
            lambda: any(map(is_ready, self.pool.pods())) or not self.pool.counters().remaining,
            self.pool.story,
            every=0.1,
        )

    def await_done(self, *, seconds: float) -> None:
        """Wait until all that was pushed is done."""
        self.pool.await_done(self.pushed, seconds=seconds)

    def await_most_done(self, *, seconds: float) -> None:
        """Wait until a random part of what was pushed is left; now and then, no longer."""
        left = self.chance.randrange(3)
        eventually(
            lambda: self.pool.counters().remaining <= left,
            self.pool.story,
            seconds=seconds,
            every=0.1,
        )
        if self.chance.randrange(6):  # else load returns on the way down
            eventually(
                lambda: self.pool.replicas() <= left,
                self.pool.story,
                seconds=seconds,
                every=1.0,
            )

    # --- what others do

    def deed(self) -> None:
        """End a pod as somebody else would, or all of them."""
        # A rollout holds every scale-in until it is over: not too often.
        deck = (self._delete, self._roll, self._evict, self._delete, self._evict)
        deed = deck[len(self.deeds) % len(deck)]
        pods = [str(pod["metadata"]["name"]) for pod in self.pool.pods()]
        if pods:
            self.deeds.append(deed.__name__.strip("_"))
            deed(pods)

    def _delete(self, pods: list[str]) -> None:
        name = self.chance.choice(pods)
        self.ended.add(name)
        words = ("-n", self.pool.namespace, "--wait=false", "--ignore-not-found")
        self.pool.kubectl.run("delete", "pod", name, *words)

    def _evict(self, pods: list[str]) -> None:
        name = self.chance.choice(pods)
        self.ended.add(name)
        path = f"/api/v1/namespaces/{self.pool.namespace}/pods/{name}/eviction"
        metadata = {"name": name, "namespace": self.pool.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        try:
            self.pool.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        except CommandFailed as error:
            if "NotFound" not in str(error):  # else it had just gone by itself
                raise

    def _roll(self, pods: list[str]) -> None:
        self.pool.kubectl.run("rollout", "restart", DEPLOYMENT, "-n", self.pool.namespace)
        # Who is there now is of the old template, or of a moment before it.
        self.ended |= {*pods, *(str(pod["metadata"]["name"]) for pod in self.pool.pods())}

    # --- what came of it

    def lived(self) -> dict[str, list[Document]]:
        """Return each pod's log."""
        found = {}
        for path in sorted((self.pool.folder / "logs").iterdir()):
            whole = path.read_text().rpartition("\n")[0]  # it may be in the middle of a line
            lines = [line for line in whole.splitlines() if line.startswith("{")]
            found[path.name] = [json.loads(line) for line in lines]
        return found

    def interrupted(self) -> list[tuple[str, str]]:
        """Return the pods that a scale-in told to go while they had a job, and the job."""
        return [
            (pod, str(line["job"]))
            for pod, lines in self.lived().items()
            if pod not in self.ended
            for line in _after_the_end_began(lines)
            if "outcome" in line
        ]

    def scale_ins(self) -> int:
        """Return how often the scale was lowered, as the operator's Events tell."""
        count = 0
        for event in self.pool.events():
            words = str(event["note"]).partition(":")[0].split()
            if words[:2] == ["Scaled", "from"] and int(words[4]) < int(words[2]):
                count += 1
        return count

    def account(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "jobs": self.pushed,
            "scale_ins": self.scale_ins(),
            "pods": len(self.lived()),
            "interrupted": len(self.interrupted()),
            "crashed": self.pool.counters().stats.get("crashed", 0),
            "deeds": {deed: self.deeds.count(deed) for deed in sorted(set(self.deeds))},
        }


def _after_the_end_began(lines: list[Document]) -> list[Document]:
    for number, line in enumerate(lines):
        if str(line["message"]).startswith("draining"):
            return lines[number + 1 :]
    return []
