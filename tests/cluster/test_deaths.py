"""What a job lives through: its process, container or pod is killed, or its node is drained.

It is done once.

"In the middle" is not left to chance: the process is watched until it has spent processor time on
the job, and is then frozen, so that nothing can finish between being seen and being killed.
"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from support.containers import Process
from support.kubectl import Document
from support.photos import Photo, album, faults_of_thumbnail
from support.product import (
    POOL,
    THUMBNAIL_PIXELS,
    Keep,
    MakePool,
    PhotoPool,
    is_ready,
    processes_of,
)
from support.waiting import eventually

SLOW = Photo(999, 8000, 6000)
"""48 megapixels as PNG: about half a second of decoding on one core."""
SLOW_NAME = "IMG_0999.png"
DECODING_SECONDS = 0.05
RESTART_SECONDS = 20.0
"""Far more than any machine takes that stands still now and then, and less than the 30 s that a
child may take to be ready: the next one was not begun late. The figure is kept as an artefact."""
DRAIN_SECONDS = 90


@pytest.fixture
def pool(make_pool: MakePool) -> PhotoPool:
    """A pool with one worker that waits for jobs."""
    pool = make_pool(minReplicas=1, maxReplicas=1)
    pool.await_ready(1)
    return pool


def test_a_killed_process_is_back_at_once_and_its_job_is_done_once(
    pool: PhotoPool, keep: Keep
) -> None:
    photos = album(20)
    names = pool.put(photos)
    (pod,) = pool.pods()
    child = _start_the_slow_job(pool, pod)
    pool.push(names)
    child.signal(signal.SIGKILL)

    pool.await_done(len(names) + 1)
    assert _the_child_of(pod).pid != child.pid
    seconds = _restart_seconds(pool.logs(pod["metadata"]["name"]))
    keep("restart.json", json.dumps({"child_killed_to_next_ready_seconds": seconds}))
    assert seconds < RESTART_SECONDS
    assert _restarts(pool) == [(pod["metadata"]["uid"], 0)], "the pod stayed"
    _everything_is_done_once(pool, photos)
    assert pool.counters().stats["crashed"] == 1


def test_a_killed_container_loses_no_job(pool: PhotoPool) -> None:
    photos = album(20)
    names = pool.put(photos)
    (pod,) = pool.pods()
    _start_the_slow_job(pool, pod)
    pool.push(names)
    processes_of(pod)[0].signal(signal.SIGKILL)

    pool.await_done(len(names) + 1)
    eventually(lambda: _restarts(pool) == [(pod["metadata"]["uid"], 1)], pool.story, every=0.2)
    _everything_is_done_once(pool, photos)


def test_a_pod_deleted_by_force_loses_no_job(pool: PhotoPool) -> None:
    photos = album(20)
    names = pool.put(photos)
    (pod,) = pool.pods()
    _start_the_slow_job(pool, pod)
    pool.push(names)
    words = ("-n", pool.namespace, "--force", "--grace-period=0")
    pool.kubectl.run("delete", "pod", pod["metadata"]["name"], *words)

    pool.await_done(len(names) + 1)
    (other,) = pool.pods()
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]
    _everything_is_done_once(pool, photos)


def test_a_pod_that_is_told_to_go_finishes_its_job_first(pool: PhotoPool) -> None:
    (pod,) = pool.pods()
    child = _start_the_slow_job(pool, pod)
    words = ("-n", pool.namespace, "--wait=false")
    pool.kubectl.run("delete", "pod", pod["metadata"]["name"], *words)
    pool.await_ready(1)
    assert pool.counters().in_flight == 1, "the job was taken from a worker that still has it"
    child.signal(signal.SIGCONT)

    counters = pool.await_done(1)
    _everything_is_done_once(pool, [])
    assert counters.stats.get("crashed", 0) == counters.stats.get("failed", 0) == 0


def test_a_drained_node_lets_its_worker_finish_and_another_does_the_rest(pool: PhotoPool) -> None:
    photos = album(20)
    names = pool.put(photos)
    (pod,) = pool.pods()
    child = _start_the_slow_job(pool, pod)
    (claim,) = _claims(pool)
    assert claim[1:] == ("0", "0")
    pool.push(names)
    with _drain(pool, pod["spec"]["nodeName"]) as drain:
        other = _await_another(pool, pod)
        # It does what waits, and not what is being done.
        eventually(lambda: pool.counters().done == len(names), pool.story, every=0.05)
        assert _claims(pool) == [claim], "the job was taken from a worker that still has it"
        assert not drain.done(), "the node was given up with a job on it"
        child.signal(signal.SIGCONT)
        drain.result()

    assert other["spec"]["nodeName"] != pod["spec"]["nodeName"]
    counters = pool.await_done(len(names) + 1)
    _everything_is_done_once(pool, photos)
    assert not {"crashed", "failed", "duplicate"} & counters.stats.keys()
    (same,) = pool.await_ready(1)
    assert same["metadata"]["uid"] == other["metadata"]["uid"], "nobody went for the node's return"


@contextmanager
def _drain(pool: PhotoPool, node: str) -> Iterator[Future[str]]:
    """Have `kubectl drain` empty a node of the pool's pods; give it back in the end.

    Redis and the operator stay: that they go is other tests' matter.
    """
    words = ("--pod-selector", "workerpool.dev/pool", "--delete-emptydir-data")
    bound = f"--timeout={DRAIN_SECONDS}s"
    run = pool.kubectl.run
    try:
        with ThreadPoolExecutor(1) as beside:
            yield beside.submit(run, "drain", node, *words, bound, seconds=DRAIN_SECONDS + 10)
    finally:  # when the drain is over, which would cordon the node again
        run("uncordon", node)


def _await_another(pool: PhotoPool, pod: Document) -> Document:
    """Wait until a pod that is ready has taken the place of one that goes."""

    def others() -> list[Document]:
        living = [other for other in pool.pods() if is_ready(other)]
        return [other for other in living if other["metadata"]["uid"] != pod["metadata"]["uid"]]

    (other,) = eventually(others, pool.story, every=0.1)
    return other


def _claims(pool: PhotoPool) -> list[tuple[str, str, str]]:
    """Return who has each running job, and its attempts and crashes so far."""
    keys = f"{{{pool.queue_name}}}:"
    claims = []
    for lease in pool.queue.zrange(keys + "inflight", 0, -1):
        envelope = str(pool.queue.hget(keys + "jobs", str(lease)))
        _, attempts, crashes, *_ = envelope.split(" ")
        claims.append((str(lease), attempts, crashes))
    return claims


def _start_the_slow_job(pool: PhotoPool, pod: Document) -> Process:
    """Push the slow job, and return its process frozen while it decodes."""
    child = _the_child_of(pod)
    before = child.cpu_seconds
    name = pool.store(SLOW_NAME, SLOW.png())
    with _on_one_processor_with(child):
        pool.push([name])
        eventually(lambda: child.cpu_seconds - before >= DECODING_SECONDS, pool.story, every=0.002)
        child.signal(signal.SIGSTOP)
    assert pool.counters().in_flight == 1, "the job was over before the process could be frozen"
    assert not pool.thumbnails()
    return child


@contextmanager
def _on_one_processor_with(child: Process) -> Iterator[None]:
    """Take turns with the child: it cannot finish while this process waits to look at it."""
    ours, its = os.sched_getaffinity(0), os.sched_getaffinity(child.pid)
    turns = {min(ours & its)}
    try:
        os.sched_setaffinity(child.pid, turns)
        os.sched_setaffinity(0, turns)
        yield
    finally:
        os.sched_setaffinity(0, ours)
        os.sched_setaffinity(child.pid, its)


def _restarts(pool: PhotoPool) -> list[tuple[str, int]]:
    """Return the uid of each pod, and how often its container was started anew."""
    return [
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in pool.pods()
    ]


def _the_child_of(pod: Document) -> Process:
    (child,) = [process for process in processes_of(pod) if process.is_child]
    return child


def _restart_seconds(lines: list[Document]) -> float:
    """Return how long the supervisor says it was without a child, after the first death."""
    times = [(datetime.fromisoformat(line["time"]), str(line["message"])) for line in lines]
    died = next(at for at, words in times if "killed by SIGKILL" in words and "a child" in words)
    back = next(at for at, words in times if words == "a child is ready" and at > died)
    return (back - died).total_seconds()


def _everything_is_done_once(pool: PhotoPool, photos: list[Photo]) -> None:
    """The slow photo and `photos` have one whole thumbnail each, and there is nothing else."""
    counters = pool.counters()
    assert counters.done == len(photos) + 1
    assert (counters.remaining, counters.dead) == (0, 0)
    expected = {photo.filename: photo for photo in photos} | {f"{SLOW_NAME}.jpg": SLOW}
    files: dict[str, Any] = {file.name: file for file in pool.thumbnails()}
    assert files.keys() == expected.keys(), "a thumbnail too many, too few, or half a file"
    faults = [
        fault
        for name, photo in expected.items()
        for fault in faults_of_thumbnail(photo, files[name], THUMBNAIL_PIXELS)
    ]
    assert faults == []
    assert pool.kubectl.get("wp", POOL, "-n", pool.namespace)["status"]["replicas"] == 1
