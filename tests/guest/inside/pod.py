"""A worker in a container, made as a kubelet and runc make it on a node with cgroup v2.

A pod's cgroup and the container's in it, each with the limits of a Guaranteed pod; namespaces of
its own for cgroups, mounts and processes; an unprivileged user. It knows the kernel's files and
`support.supervisor`; nothing is asserted here.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from guest.inside import kernel
from support.photos import album
from support.queue_state import QueueState
from support.supervisor import COMMAND, Supervisor
from support.waiting import eventually

MOUNT = Path("/sys/fs/cgroup")
REDIS = "redis://127.0.0.1:6379/0"
PATIENCE = 240.0
"""Seconds: a processor made of software takes its time."""
ONE = {"cpuset.cpus": "3", "cpu.max": "100000 100000", "memory.max": str(512 << 20)}
"""The limits of a Guaranteed pod of one core."""
PHOTOS = album(3)
JOBS = [f'{{"filename": "{photo.filename}"}}' for photo in PHOTOS]
CONTROLLERS = "+cpu +cpuset +memory"
Agreed = Callable[[list[dict[str, str]]], bool]
_numbers = itertools.count(1)
ENTER = """
echo $$ >"$1/cgroup.procs" && shift
exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh -c '
    umount --lazy /sys/fs/cgroup && mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup &&
    exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all \\
        env --block-signal=TERM --block-signal=INT "$@"
' sh "$@"
"""


def delegated() -> Path:
    """Return the cgroup that is ours to part, after having left it."""
    path = Path("/proc/self/cgroup").read_text().partition("::")[2].strip()
    group = MOUNT / path.lstrip("/")
    if group.name == "checks":
        return group.parent
    own = group / "checks"
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    (group / "cgroup.subtree_control").write_text(CONTROLLERS)
    return group


class Pod:
    """One pod with one container, from its cgroup to the queue that it serves."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: dict[str, str],
        pod_limits: dict[str, str] | None = None,
        command: tuple[str, ...] = COMMAND,
        **variables: str,
    ) -> None:
        self.cgroup = delegated() / f"pod{next(_numbers)}" / "container"
        self._limits = limits
        self._pod_limits = limits if pod_limits is None else pod_limits
        self.queue = QueueState(redis.Redis.from_url(REDIS))
        self.supervisor = Supervisor(
            REDIS,
            folder,
            command=("sh", "-c", ENTER, "sh", str(self.cgroup), *command),
            cpu_policy=variables.pop("cpu_policy", "Exclusive"),
            **variables,
        )

    def __enter__(self) -> Self:
        self.cgroup.mkdir(parents=True)
        self._write(self.cgroup.parent, self._pod_limits)
        (self.cgroup.parent / "cgroup.subtree_control").write_text(CONTROLLERS)
        self._write(self.cgroup, self._limits)
        for name in ("in", "out"):
            (self.supervisor.folder / name).mkdir(parents=True, exist_ok=True)
        self.supervisor.folder.chmod(0o755)
        (self.supervisor.folder / "out").chmod(0o777)
        self.supervisor.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self.cgroup / "cgroup.kill").write_text("1")
        self.supervisor.__exit__(kind, error, trace)
        if error is not None:
            sys.stdout.write(f"\n{self.supervisor.log}\n")
        for group in (self.cgroup, self.cgroup.parent):
            eventually(partial(_removed, group), f"{group} empty", seconds=PATIENCE)

    def limit(self, **values: str) -> None:
        """Change limits while it runs: `cpuset_cpus="0-1"`, the pod's first if they grow."""
        texts = {name.replace("_", ".", 1): value for name, value in values.items()}
        for group in (self.cgroup.parent, self.cgroup, self.cgroup.parent):
            self._write(group, texts)

    @property
    def main(self) -> int:
        """The supervisor's process, as the guest numbers it."""
        return self._running("image_worker", "planned_supervisor.py")[0]

    @property
    def children(self) -> list[int]:
        """The decoding processes."""
        return self._running("image_worker.child", "planned_child.py")

    def _running(self, *programs: str) -> list[int]:
        """Return the Python processes that run one of these modules or files."""
        found = []
        for pid in self.processes():
            words = _words(pid)
            if "python" in words[0] and any(
                word == program or word.endswith(f"/{program}")
                for word in words[1:3]
                for program in programs
            ):
                found.append(pid)
        return found

    def processes(self) -> list[int]:
        """Return all processes of the container."""
        return sorted(int(pid) for pid in (self.cgroup / "cgroup.procs").read_text().split())

    def records(self, count: int, agreed: Agreed = lambda _: True) -> list[dict[str, str]]:
        """Return the records of as many workers, by affinity, once all are as they shall be."""

        def told() -> list[dict[str, str]] | None:
            records = [self.queue.record(worker) for worker in self.queue.members("workers")]
            # A rate is there from the second look on.
            known = len(records) == count and all(record.get("waited") for record in records)
            return records if known and agreed(records) else None

        found = eventually(told, lambda: self.supervisor.log, seconds=PATIENCE, every=0.25)
        return sorted(found, key=lambda record: record["affinity"])

    def laid(self, *cpus: str) -> list[dict[str, str]]:
        """Return the records once the workers tell of these affinities."""
        return self.records(
            len(cpus), lambda records: sorted(each["affinity"] for each in records) == [*cpus]
        )

    def squeeze(self, child: int) -> None:
        """Leave the container less memory than it needs with this child, and enough without."""
        held = int((self.cgroup / "memory.current").read_text())
        files = int(kernel.field(self.cgroup / "memory.stat", "file "))  # can be had back
        of_child = int(kernel.field(Path(f"/proc/{child}/status"), "RssAnon:").split()[0]) << 10
        (self.cgroup / "memory.max").write_text(str(held - files - of_child // 2))

    def do(self, *payloads: str) -> None:
        """Push jobs and wait until they are done."""
        before = self.queue.stats.get("done", 0)
        self.queue.push(*payloads)
        eventually(
            lambda: self.queue.stats.get("done", 0) == before + len(payloads),
            lambda: (self.queue.lengths, self.supervisor.log),
            seconds=PATIENCE,
            every=0.25,
        )

    def terminate(self) -> None:
        """Tell the container to end, as a kubelet does."""
        os.kill(self.main, signal.SIGTERM)

    @staticmethod
    def _write(group: Path, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            (group / name).write_text(text)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return [""]


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True
