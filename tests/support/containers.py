"""The processes inside a container, as the machine under it sees them.

Only for nodes of this machine. A process is found by the container's control group and signalled
through a handle that was taken while it was seen there, so that no other process is ever hit.
"""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localcluster import cgroups
from localcluster.layout import CGROUP


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a container."""

    pid: int
    started: int
    """When, in the kernel's clock ticks: ids begin anew when the last one has been given."""
    group: Path
    command: str

    @property
    def is_child(self) -> bool:
        """Whether it is a worker process: what decodes, below the supervisor."""
        return "image_worker.child" in self.command

    def status(self) -> dict[str, str]:
        """Read /proc/<pid>/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def cpu_seconds(self) -> float:
        """Processor time spent so far."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def pss_bytes(self) -> int:
        """Resident memory, shared pages divided by those who share them."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        assert found, text
        return int(found[1]) * 1024

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        handle = os.pidfd_open(self.pid)
        try:
            assert self.pid in cgroups.processes(self.group), f"process {self.pid} is gone"
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def processes(container_id: str) -> list[Process]:
    """Return a container's processes, the first of them the one that it began with.

    `container_id` as a pod's status has it: `containerd://…`.
    """
    tree = cgroups.mounted().processes / CGROUP
    name = container_id.partition("://")[2]
    groups = [group for group in tree.rglob(name) if group.is_dir()]
    found = [process for group in groups for process in _in(group)]
    return sorted(found, key=lambda process: (process.started, process.pid))


def _in(group: Path) -> Iterator[Process]:
    for pid in cgroups.processes(group):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            started = int(_stat(pid)[19])
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield Process(pid, started, group, command.strip())


def _stat(pid: int) -> list[str]:
    """Read what /proc/<pid>/stat has after the name: from the third field on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
