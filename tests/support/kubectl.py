"""kubectl and helm as a person types them, and a watch that remembers what it saw.

Knows the two programs and one kubeconfig; nothing of pools. Every call is bounded.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.waiting import eventually

Document = dict[str, Any]

WATCH_SECONDS = 600


class CommandFailed(AssertionError):
    """kubectl or helm ended with an error; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The programs, and the cluster they speak to."""

    programs: Path
    kubeconfig: Path

    def run(self, *words: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run kubectl to its end and return what it printed."""
        return self._run("kubectl", words, stdin, seconds)

    def helm(self, *words: str, seconds: float = 300) -> str:
        """Run helm to its end and return what it printed."""
        return self._run("helm", words, None, seconds)

    def get(self, *words: str) -> Document:
        """Return an object or a list."""
        document: Document = json.loads(self.run("get", *words, "-o", "json"))
        return document

    def find(self, *words: str) -> Document | None:
        """Return an object, or None if there is no such object."""
        text = self.run("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def apply(self, *documents: Document) -> None:
        """Apply objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.run("apply", "-f", "-", stdin=json.dumps(items))

    @contextmanager
    def watch(self, collection: str, name: str) -> Iterator["Watch"]:
        """Watch one object of a collection, such as `/apis/apps/v1/namespaces/x/deployments`."""
        query = f"watch=1&timeoutSeconds={WATCH_SECONDS}&fieldSelector=metadata.name%3D{name}"
        with subprocess.Popen(
            self._words("kubectl", ("get", "--raw", f"{collection}?{query}")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            path = f"{collection}/{name}"
            watch = Watch(process, lambda: _version(json.loads(self.run("get", "--raw", path))))
            try:
                yield watch
            finally:
                process.terminate()
                watch.thread.join(10)

    def _run(self, program: str, words: tuple[str, ...], stdin: str | None, seconds: float) -> str:
        try:
            done = subprocess.run(
                self._words(program, words),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                f"{program} {' '.join(words)}: no end within {seconds} s"
            ) from error
        if done.returncode != 0:
            raise CommandFailed(f"{program} {' '.join(words)}:\n{done.stderr}{done.stdout}")
        return done.stdout

    def _words(self, program: str, words: tuple[str, ...]) -> list[str]:
        return [str(self.programs / program), f"--kubeconfig={self.kubeconfig}", *words]


@dataclass(frozen=True, slots=True)
class Sight:
    """One version of the object, and when the watch brought it (monotonic seconds)."""

    at: float
    kind: str
    object: Document

    @property
    def version(self) -> int:
        """Its place in the order of all that was written, whatever the kind."""
        return _version(self.object)


@dataclass
class Watch:
    """Every version of one object, in the order in which the API server reported them."""

    process: "subprocess.Popen[str]"
    newest: Callable[[], int]
    """Asks the API server which version it has."""
    sights: list[Sight] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, name="watch", daemon=True)
        self.thread.start()

    def started(self) -> "Watch":
        """Wait for the first version: from then on no change is missed."""
        eventually(lambda: self.sights, "an object to watch")
        return self

    def caught_up(self) -> "Watch":
        """Wait for the version that the API server has now: watches come late."""
        newest = self.newest()
        eventually(lambda: self.sights[-1].version >= newest, f"version {newest} of the object")
        return self

    def values(self, *path: str) -> list[tuple[float, Any]]:
        """Return when a field changed and to what; an absent field is None."""
        return [(sight.at, value) for sight, value in self._changes(path)]

    def versions(self, *path: str) -> list[tuple[int, Any]]:
        """Return with which version a field changed and to what.

        Two watches bring what they see with delays of their own; this order is the true one.
        """
        return [(sight.version, value) for sight, value in self._changes(path)]

    def _changes(self, path: tuple[str, ...]) -> list[tuple[Sight, Any]]:
        changes: list[tuple[Sight, Any]] = []
        for sight in list(self.sights):
            value: Any = sight.object
            for name in path:
                value = (value or {}).get(name)
            if not changes or changes[-1][1] != value:
                changes.append((sight, value))
        return changes

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            at, report = time.monotonic(), json.loads(line)
            self.sights.append(Sight(at, report["type"], report["object"]))


def _version(document: Document) -> int:
    return int(document["metadata"]["resourceVersion"])
