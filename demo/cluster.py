"""Speak to a cluster through kubectl and helm, one process for each question.

Knows the two programs and which kubeconfig they use; nothing of pools or photos. Every call is
bounded; what does not end by itself is given out as a stream.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import CommandFailed
from demo.terminal import command_line


@dataclass(frozen=True, slots=True)
class Cluster:
    """The programs and the kubeconfig to reach one cluster."""

    kubectl: Path
    helm: Path
    kubeconfig: str
    """As in the variable KUBECONFIG: one path or several."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment that both programs run in."""
        return {**os.environ, "KUBECONFIG": self.kubeconfig}

    def run(self, *words: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run kubectl to its end and return what it printed."""
        return self._run([str(self.kubectl), *words], stdin, timeout_seconds).decode()

    def read_bytes(self, *words: str, timeout_seconds: float = 60) -> bytes:
        """Run kubectl to its end and return the bytes it printed."""
        return self._run([str(self.kubectl), *words], None, timeout_seconds)

    def get(self, *words: str) -> Any:  # noqa: ANN401 - Kubernetes objects as they come
        """Return an object or a list as kubectl's JSON; None with --ignore-not-found."""
        answer = self.run("get", *words, "-o", "json")
        return json.loads(answer) if answer else None

    def exists(self, *words: str) -> bool:
        """Tell whether an object is there."""
        return bool(self.run("get", *words, "--ignore-not-found", "-o", "name").strip())

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects on the server's side, as one list."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=demo", "-f", "-"),
            stdin=json.dumps(manifest),
        )

    def run_helm(self, *words: str, timeout_seconds: float) -> str:
        """Run helm to its end and return what it printed."""
        return self._run([str(self.helm), *words], None, timeout_seconds).decode()

    def stream(self, *words: str) -> subprocess.Popen[str]:
        """Start kubectl and give out its lines as they come; the caller ends it."""
        return subprocess.Popen(
            [str(self.kubectl), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def _run(self, words: list[str], stdin: str | None, timeout_seconds: float) -> bytes:
        shown = f"`{command_line(words)}`"
        try:
            done = subprocess.run(
                words,
                input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=timeout_seconds,
                env=self.environment,
                check=False,
            )
        except FileNotFoundError as error:
            raise CommandFailed(f"{words[0]}: no such program") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{shown} did not end within {timeout_seconds:.0f} s") from error
        if done.returncode != 0:
            raise CommandFailed(f"{shown} failed:\n    {done.stderr.decode().strip()}")
        return done.stdout
