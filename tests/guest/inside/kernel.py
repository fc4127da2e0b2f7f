"""What the guest's kernel says by itself: no code of the worker is used to read it."""

import subprocess
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
NODES = Path("/sys/devices/system/node")
ONLINE = ("0", "1")


def siblings(cpu: int) -> str:
    """Return the hardware threads of a CPU's core, as the kernel writes them."""
    return (CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()


def node(cpu: int) -> str:
    """Return the number of the memory node that a CPU is at."""
    (link,) = (CPUS / f"cpu{cpu}").glob("node[0-9]*")
    return link.name.removeprefix("node")


def switch(cpu: int, *, on: bool) -> None:
    """Plug a CPU in or out."""
    (CPUS / f"cpu{cpu}/online").write_text(ONLINE[on])


def allowed(task: int) -> str:
    """Return the CPUs that a task may run on."""
    return field(Path(f"/proc/{task}/status"), "Cpus_allowed_list:")


def threads(process: int) -> list[int]:
    """Return a process's threads, the main one first."""
    return sorted(int(task.name) for task in Path(f"/proc/{process}/task").iterdir())


def field(file: Path, name: str) -> str:
    """Return what follows a name in a file of names and values; empty if it is not there."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return line.removeprefix(name).strip()
    return ""


def hypervisor() -> str:
    """Return systemd's opinion: `kvm`, `qemu`, `none` …"""
    command = ("systemd-detect-virt", "--vm")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()
