"""helm for tests: the project's own build, with a home of its own. It knows no chart but ours."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.api_server import BINARIES, ROOT

CHART = ROOT / "charts" / "workerpool"
TIMEOUT_SECONDS = 60.0

Document = dict[str, Any]


class HelmError(RuntimeError):
    """helm failed; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """helm, speaking to the cluster of `kubeconfig` (none: rendering only)."""

    home: Path
    kubeconfig: Path | None = None

    def run(self, *words: str | Path) -> str:
        """Run helm and return what it printed; a failure raises."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(
            [BINARIES / "helm", *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env=environment,
        )
        if done.returncode != 0:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    def render(self, *words: str, release: str = "workerpool") -> list[Document]:
        """Return the documents the chart makes, with `words` such as `--set=a=b`."""
        text = self.run("template", release, CHART, "--namespace=system", *words)
        return [document for document in yaml.safe_load_all(text) if document]


def only(documents: list[Document], kind: str, name: str | None = None) -> Document:
    """Return the one document of that kind (and name)."""
    [found] = [
        document
        for document in documents
        if document["kind"] == kind and name in (None, document["metadata"]["name"])
    ]
    return found


def pod_templates(documents: list[Document]) -> dict[str, Document]:
    """Return the template of every pod that the documents themselves make, by workload."""
    return {
        document["metadata"]["name"]: document["spec"]["template"]
        for document in documents
        if document["kind"] in {"Deployment", "StatefulSet"}
    }
