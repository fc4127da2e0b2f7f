"""Long-running programs of the cluster: start, tell whether they live, end.

Each runs in a control group of its own and, if it belongs to a node, in that node's namespaces.
It writes its own process id before it becomes the program, and lives as long as that id is found
in its group: neither a crash nor a reused id can deceive.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcluster import cgroups
from localcluster.commands import tail, wait_until
from localcluster.errors import TimedOut
from localcluster.layout import Layout

_SECONDS = 60
"""For what takes milliseconds, unless the machine stands still or is everybody's."""

# Join the group, say so, and become the program. `$0` is the group's file, `$1` the id's.
_ENTER = 'echo $$ >"$0" && echo $$ >"$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Component:
    """A program, where it runs, and by what command."""

    name: str
    command: tuple[str, ...]
    network: Path | None = None
    """The network namespace to run in; None is this machine's."""
    mounts: Path | None = None
    """The mount namespace to run in; None is this machine's."""
    environment: tuple[tuple[str, str], ...] = ()

    def full_command(self) -> list[str]:
        """Return the command with its way into the namespaces and its environment."""
        enter = [
            *([f"--net={self.network}"] if self.network else []),
            *([f"--mount={self.mounts}"] if self.mounts else []),
        ]
        return [
            *(["nsenter", *enter] if enter else []),
            *("env", *(f"{name}={value}" for name, value in self.environment)),
            *self.command,
        ]


def log(layout: Layout, name: str) -> Path:
    """Return the file with a component's output."""
    return layout.logs / f"{name}.log"


def ensure(layout: Layout, component: Component) -> None:
    """Start a component unless it is running."""
    if is_alive(layout, component.name):
        return
    group = cgroups.component(cgroups.mounted(), component.name)
    group.mkdir(parents=True, exist_ok=True)
    layout.logs.mkdir(parents=True, exist_ok=True)
    pid_file = _pid_file(layout, component.name)
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    with log(layout, component.name).open("a") as output:
        # Forked away, so that it is nobody's child here: it outlives this command.
        subprocess.run(
            [
                *("setsid", "--fork", "sh", "-c", _ENTER),
                *(str(group / "cgroup.procs"), str(pid_file)),
                *component.full_command(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            timeout=_SECONDS,
            check=True,
        )
    wait_until(
        lambda: is_alive(layout, component.name),
        timeout_seconds=_SECONDS,
        otherwise=lambda: describe_death(layout, component.name),
        poll_seconds=0.01,
    )


def is_alive(layout: Layout, name: str) -> bool:
    """Tell whether a component's own process (not a child that outlived it) is running."""
    try:
        pid = int(_pid_file(layout, name).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return pid in cgroups.processes(cgroups.component(cgroups.mounted(), name))


def end(layout: Layout, name: str) -> None:
    """Kill a component's own process, as a crash would, and wait until it is gone."""
    if is_alive(layout, name):
        cgroups.kill(int(_pid_file(layout, name).read_text()))
    wait_until(
        lambda: not is_alive(layout, name),
        timeout_seconds=_SECONDS,
        otherwise=lambda: f"{name} does not end; read {log(layout, name)}",
    )


def forget(layout: Layout, name: str) -> None:
    """Remove what is left of a component that has ended, but for its log."""
    _pid_file(layout, name).unlink(missing_ok=True)


def check_alive(layout: Layout, name: str) -> None:
    """Raise TimedOut at once if a component that something waits for has died."""
    if not is_alive(layout, name):
        raise TimedOut(describe_death(layout, name))


def describe_death(layout: Layout, name: str) -> str:
    """Say which log tells why a component is not running, and how it ends."""
    path = log(layout, name)
    return f"{name} is not running; read {path}, which ends:\n{tail(path, 8)}"


def _pid_file(layout: Layout, name: str) -> Path:
    return layout.state / "run" / f"{name}.pid"
