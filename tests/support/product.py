"""The product as an installed release, and a pool of it as a web application sees one.

Knows the chart's values, the names it gives, and the queue's keys (docs/protocol.md). Photos and
thumbnails are reached through the folder behind the volume, so the nodes must be this machine's.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from support.containers import Process, processes
from support.kubectl import Document, Kubectl, Watch
from support.photos import Photo
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "workerpool"
INDEX = ROOT / ".build" / "images" / "index.json"
POOL = "photos"
CLAIM = "photos"
THUMBNAIL_PIXELS = 256
LEASE_SECONDS = 6
"""In place of 15: how long these tests wait for the jobs of a worker that fell silent.

It beats every third of that, and may get no processor for some seconds without being silent."""
OURS = "workerpool.dev/test"
"""Label of every namespace made here: what an interrupted run left is found by it."""


@dataclass(frozen=True, slots=True)
class Images:
    """Names of the locally built images, with their tags."""

    operator: str
    worker: str
    redis: str

    @classmethod
    def built(cls) -> "Images":
        """Read what `make images` wrote."""
        assert INDEX.exists(), f"{INDEX} is missing: run `make images`"
        index = json.loads(INDEX.read_text())
        names = ("workerpool-operator", "image-worker", "redis")
        return cls(*(index[name]["image"] for name in names))

    def as_values(self) -> list[str]:
        """Return what to set in the chart."""
        words = []
        for part in ("operator", "worker", "redis"):
            repository, _, tag = getattr(self, part).rpartition(":")
            words.append(f"--set-string={part}.image.repository={repository}")
            words.append(f"--set-string={part}.image.tag={tag}")
        return words


@dataclass(frozen=True, slots=True)
class Product:
    """One release of the chart."""

    kubectl: Kubectl
    release: str
    namespace: str

    @property
    def redis_secret(self) -> Document:
        """The Secret with the password of its Redis."""
        return self.kubectl.get("secret", f"{self.release}-redis", "-n", self.namespace)

    @property
    def redis_host(self) -> str:
        """The name by which pods of every namespace reach its Redis."""
        return f"{self.release}-redis.{self.namespace}.svc"

    def redis(self) -> "redis.Redis":
        """Return a client of its Redis, by way of the Service."""
        service = self.kubectl.get("service", f"{self.release}-redis", "-n", self.namespace)
        password = base64.b64decode(self.redis_secret["data"]["password"]).decode()
        return redis.Redis(
            host=service["spec"]["clusterIP"],
            port=6379,
            password=password,
            decode_responses=True,
            socket_timeout=30,
            socket_connect_timeout=30,
        )

    def operator_pods(self) -> list[Document]:
        """Return the operator's pods that are not on their way out."""
        selector = (
            f"app.kubernetes.io/instance={self.release},app.kubernetes.io/component=operator"
        )
        return _living(self.kubectl, self.namespace, selector)

    def await_operator(self, *, other_than: str = "") -> Document:
        """Wait until one operator pod, and not the one of that uid, is ready."""

        def ready() -> Document | None:
            pods = [pod for pod in self.operator_pods() if pod["metadata"]["uid"] != other_than]
            return pods[0] if len(pods) == 1 and is_ready(pods[0]) else None

        return eventually(
            ready,
            lambda: self.kubectl.run("get", "pods", "-n", self.namespace, "-o", "wide"),
            seconds=60,
            every=0.2,
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """What Redis knows of a queue, in jobs; `workers` in workers."""

    waiting: int
    in_flight: int
    retry: int
    dead: int
    workers: int
    stats: Mapping[str, int]

    @property
    def remaining(self) -> int:
        """Jobs that are neither done nor dead."""
        return self.waiting + self.in_flight + self.retry

    @property
    def done(self) -> int:
        """Jobs done so far."""
        return self.stats.get("done", 0)


@dataclass
class PhotoPool:
    """A namespace with a pool, a volume of photos and a list in the product's Redis."""

    product: Product
    namespace: str
    spec: dict[str, Any] = field(default_factory=dict)
    folder: Path = field(init=False)
    queue: "redis.Redis" = field(init=False)

    @property
    def kubectl(self) -> Kubectl:
        """The programs."""
        return self.product.kubectl

    @property
    def queue_name(self) -> str:
        """The Redis list."""
        return f"queue:{self.namespace}"

    def resource(self) -> Document:
        """Return the WorkerPool as it is applied."""
        worker = {
            "name": "worker",
            "env": [{"name": "WORKERPOOL_LEASE_SECONDS", "value": str(LEASE_SECONDS)}],
            "volumeMounts": [{"name": "photos", "mountPath": "/photos"}],
        }
        volume = {"name": "photos", "persistentVolumeClaim": {"claimName": CLAIM}}
        spec = {
            "queue": {
                "list": self.queue_name,
                "redis": {
                    "url": f"redis://{self.product.redis_host}:6379/0",
                    "secretRef": {"name": "redis"},
                },
            },
            "maxReplicas": 4,
            "scaleDown": {"stabilizationSeconds": 3},
            "cpu": {"policy": "Shared", "request": "1m"},
            "template": {"spec": {"containers": [worker], "volumes": [volume]}},
        }
        return {
            "apiVersion": "workerpool.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": POOL, "namespace": self.namespace},
            "spec": spec | self.spec,
        }

    def create(self) -> None:
        """Create it all, and wait until the pool knows its queue."""
        self.queue = self.product.redis()
        password = self.product.redis_secret["data"]["password"]
        self.kubectl.apply(
            _secret("redis", self.namespace, {"password": password}),
            _claim(CLAIM, self.namespace),
        )
        self.folder = folder_behind(self.kubectl, self.namespace, CLAIM)
        (self.folder / "in").mkdir()
        self.apply()
        self.kubectl.run(
            *("wait", f"wp/{POOL}", "-n", self.namespace),
            # Less than the 30 s after which a sweep would find what the watch had missed.
            *("--for=condition=QueueReachable", "--timeout=25s"),
        )

    def apply(self, **spec: Any) -> None:  # noqa: ANN401  whatever the resource has
        """Apply the pool, its spec changed."""
        self.spec |= spec
        self.kubectl.apply(self.resource())

    def delete(self) -> None:
        """Delete the pool, and wait until its pods have given their cores back."""
        words = ("-n", self.namespace, "--ignore-not-found", "--timeout=120s")
        self.kubectl.run("delete", "wp", POOL, *words, seconds=130)
        eventually(
            lambda: not self.kubectl.get("pods", "-n", self.namespace)["items"],
            lambda: self.kubectl.run("get", "pods", "-n", self.namespace),
            seconds=120,
            every=0.2,
        )
        keys = list(self.queue.scan_iter(f"*{self.queue_name}*", count=1000))
        if keys:
            self.queue.delete(*keys)

    # --- the web application's side

    def put(self, photos: Iterable[Photo]) -> list[str]:
        """Store photos; return their names."""
        return [self.store(photo.filename, photo.jpeg()) for photo in photos]

    def store(self, name: str, data: bytes) -> str:
        """Store a file among the photos; return its name."""
        path = self.folder / "in" / name
        path.write_bytes(data)
        path.chmod(0o644)
        return name

    def push(self, names: Iterable[str]) -> None:
        """Push a job for each photo, all in one command."""
        self.queue.rpush(self.queue_name, *(json.dumps({"filename": name}) for name in names))

    def thumbnails(self) -> list[Path]:
        """Return what lies in the output folder, temporary files included."""
        return sorted((self.folder / "out").glob("*")) if (self.folder / "out").is_dir() else []

    def counters(self) -> Counters:
        """Read the queue."""
        keys = f"{{{self.queue_name}}}:"
        read = self.queue.pipeline()
        read.llen(self.queue_name)
        for name in ("inflight", "retry", "dead", "workers"):
            read.zcard(keys + name)
        read.hgetall(keys + "stats")
        waiting, in_flight, retry, dead, workers, stats = read.execute()
        counted = {name: int(value) for name, value in stats.items()}
        return Counters(waiting, in_flight, retry, dead, workers, counted)

    def dead_letters(self) -> dict[str, str]:
        """Return each dead letter's payload and why it was buried."""
        keys = f"{{{self.queue_name}}}:"
        letters = {}
        for lease in self.queue.zrange(keys + "dead", 0, -1):
            line, _, raw = str(self.queue.hget(keys + "jobs", str(lease))).partition("\n")
            letters[raw] = line.split(" ", 4)[4]
        return letters

    def await_done(self, jobs: int, *, seconds: float = 90) -> Counters:
        """Wait until so many jobs are done and none is left."""

        def over() -> Counters | None:
            counters = self.counters()
            return counters if counters.done >= jobs and not counters.remaining else None

        return eventually(over, self.story, seconds=seconds, every=0.05)

    # --- Kubernetes' side

    def status(self) -> Document:
        """Return the pool's status."""
        status: Document = self.kubectl.get("wp", POOL, "-n", self.namespace).get("status", {})
        return status

    def await_idle(self) -> None:
        """Wait until the status says that there is nothing to do, and nobody to do it."""
        eventually(
            lambda: self.status().get("readyReplicas") == 0 and self.status()["reason"] == "Idle",
            self.status,
            every=0.2,
        )

    def replicas(self) -> int:
        """Return what the Deployment asks for."""
        deployment = self.kubectl.get("deployment", f"{POOL}-worker", "-n", self.namespace)
        return int(deployment["spec"]["replicas"])

    def pods(self) -> list[Document]:
        """Return the worker pods that are not on their way out."""
        return _living(self.kubectl, self.namespace, f"workerpool.dev/pool={POOL}")

    def await_ready(self, count: int, *, seconds: float = 60) -> list[Document]:
        """Wait until exactly so many worker pods exist, all ready."""

        def ready() -> list[Document] | None:
            pods = self.pods()
            return pods if len(pods) == count and all(map(is_ready, pods)) else None

        return eventually(ready, self.story, seconds=seconds, every=0.1)

    def template_annotations(self) -> Mapping[str, str]:
        """Return the annotations of the Deployment's pod template."""
        deployment = self.kubectl.get("deployment", f"{POOL}-worker", "-n", self.namespace)
        return dict(deployment["spec"]["template"]["metadata"].get("annotations") or {})

    def await_zero(self, *, seconds: float = 60) -> None:
        """Wait until no pod is left; the status may tell of it a second later."""
        eventually(
            lambda: not self.kubectl.get("pods", "-n", self.namespace)["items"],
            self.story,
            seconds=seconds,
            every=0.2,
        )

    def events(self) -> list[Document]:
        """Return the Events about the pool, oldest first."""
        found = self.kubectl.get("events.events.k8s.io", "-n", self.namespace)["items"]
        ours = [event for event in found if event["regarding"]["kind"] == "WorkerPool"]
        return sorted(ours, key=lambda event: str(event["eventTime"]))

    @contextmanager
    def watch_deployment(self) -> Iterator[Watch]:
        """Watch the pool's Deployment."""
        collection = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        with self.kubectl.watch(collection, f"{POOL}-worker") as watch:
            yield watch.started()

    @contextmanager
    def watch_pool(self) -> Iterator[Watch]:
        """Watch the pool itself."""
        collection = f"/apis/workerpool.dev/v1alpha1/namespaces/{self.namespace}/workerpools"
        with self.kubectl.watch(collection, POOL) as watch:
            yield watch.started()

    def logs(self, pod: str, *words: str) -> list[Document]:
        """Return a worker pod's log, a document for each line."""
        text = self.kubectl.run("logs", pod, "-n", self.namespace, *words)
        return [json.loads(line) for line in text.splitlines()]

    def story(self) -> str:
        """Return all that helps to understand a failure."""
        words = ("-n", self.namespace)
        operator = f"app.kubernetes.io/instance={self.product.release}"
        parts = [
            str(self.counters()),
            str(self.dead_letters()),
            str([(event["reason"], event["note"]) for event in self.events()]),
            self.kubectl.run(
                *("logs", "-n", self.product.namespace, "--tail=20"),
                *("-l", f"{operator},app.kubernetes.io/component=operator"),
            ),
            self.kubectl.run("get", "wp,deploy,pods", *words, "-o", "wide"),
            self.kubectl.run("get", "events", *words, "--sort-by=.metadata.creationTimestamp"),
            self.kubectl.run(
                *("logs", "-l", f"workerpool.dev/pool={POOL}", *words, "--tail=5"),
                "--ignore-errors",  # of pods that never ran
            ),
        ]
        return "\n".join(parts)


MakePool = Callable[..., PhotoPool]
"""Make a pool with these fields of its spec; it is taken away when the test is over."""
Keep = Callable[[str, str], None]
"""Keep a text as an artefact of that file name."""


def is_ready(pod: Document) -> bool:
    """Tell whether a pod is ready."""
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def processes_of(pod: Document) -> list[Process]:
    """Return the processes of a pod's only container."""
    (container,) = pod["status"]["containerStatuses"]
    return processes(container["containerID"])


def make_namespace(kubectl: Kubectl, name: str) -> None:
    """Create a namespace that admits nothing but harmless pods, as careful clusters do."""
    labels = {OURS: "cluster", "pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def folder_behind(kubectl: Kubectl, namespace: str, claim: str) -> Path:
    """Return the folder of a bound claim."""
    words = ("--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
    kubectl.run("wait", f"pvc/{claim}", "-n", namespace, *words)
    name = kubectl.get("pvc", claim, "-n", namespace)["spec"]["volumeName"]
    return Path(kubectl.get("pv", name)["spec"]["hostPath"]["path"])


def _living(kubectl: Kubectl, namespace: str, selector: str) -> list[Document]:
    pods: list[Document] = kubectl.get("pods", "-n", namespace, "-l", selector)["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _secret(name: str, namespace: str, data: Mapping[str, str]) -> Document:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": dict(data)}


def _claim(name: str, namespace: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
