"""The cluster, through the user's own kubectl: its contexts, its login, its rights.

It knows kubectl's words and which of them mean what; it must not know queues.  Every call is
bounded by kubectl's own --request-timeout and, should kubectl itself hang, by a deadline.
"""

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workerpool_cli.errors import ClusterTrouble
from workerpool_cli.pool import POOL_LABEL, RESOURCE, Pool, parse

REQUEST_SECONDS = 20
DEADLINE_SECONDS = 60
"""Longer than a request: a login plugin may have to open a browser."""
_LOGGED = re.compile(r"[EWIF]\d{4} ")
_UNREACHABLE = (
    "connection refused",
    "unable to connect to the server",
    "i/o timeout",
    "no such host",
    "was refused",
    "context deadline exceeded",
    "client.timeout exceeded",
)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl and what it is pointed to; None means what the user's kubeconfig says."""

    program: str = "kubectl"
    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None

    def pool(self, name: str) -> Pool:
        """Read a pool, or say which there are."""
        text = self.run("get", RESOURCE, name, "--ignore-not-found", "--output=json")
        if not text.strip():
            raise ClusterTrouble(f"there is no pool {name!r}{self._there()}: {self._names()}")
        return parse(_json(text))

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Read a Secret's entries."""
        text = self.run(
            "get", "secret", name, "--ignore-not-found", "--output=json", namespace=namespace
        )
        if not text.strip():
            raise ClusterTrouble(
                f"the pool names the Secret {name!r} in spec.queue.redis.secretRef, and namespace "
                f"{namespace} has none: create it with the keys username and password"
            )
        try:
            data = _json(text).get("data") or {}
            return {key: base64.b64decode(value).decode() for key, value in data.items()}
        except (binascii.Error, UnicodeDecodeError, AttributeError):
            # Its cause is left out: it would quote what it could not read.
            raise ClusterTrouble(f"the Secret {name!r} holds something that is no text") from None

    def set_paused(self, pool: Pool, *, paused: bool) -> Pool:
        """Write spec.paused; returns the pool as it is now."""
        patch = json.dumps({"spec": {"paused": paused}})
        words = ("patch", RESOURCE, pool.name, "--type=merge", f"--patch={patch}")
        return parse(_json(self.run(*words, "--output=json", namespace=pool.namespace)))

    def scale_to_zero(self, pool: Pool) -> bool:
        """Ask for no worker pods; returns whether there was a Deployment to ask of."""
        mine = f"--selector={POOL_LABEL}={pool.name}"
        found = self.run("get", "deployment", mine, "--output=name", namespace=pool.namespace)
        if not found.strip():
            return False
        self.run("scale", "deployment", mine, "--replicas=0", namespace=pool.namespace)
        return True

    def pods(self, pool: Pool) -> list[str]:
        """Name the pool's worker pods, those that are ending included."""
        words = ("get", "pods", f"--selector={POOL_LABEL}={pool.name}", "--output=json")
        items = _json(self.run(*words, namespace=pool.namespace))["items"]
        over = {"Succeeded", "Failed"}
        return [
            i["metadata"]["name"] for i in items if i.get("status", {}).get("phase") not in over
        ]

    def pod_at(self, namespace: str, ip: str) -> str | None:
        """Name the pod that has an address."""
        here = f"--field-selector=status.podIP={ip}"
        items = _json(self.run("get", "pods", here, "--output=json", namespace=namespace))["items"]
        return items[0]["metadata"]["name"] if items else None

    def words(self, *words: str, namespace: str | None = None) -> list[str]:
        """Return a whole command line."""
        chosen = {
            "kubeconfig": self.kubeconfig,
            "context": self.context,
            "namespace": namespace or self.namespace,
        }
        flags = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
        return [self.program, *flags, *words]

    def run(self, *words: str, namespace: str | None = None) -> str:
        """Run kubectl to its end and return what it printed."""
        command = self.words(f"--request-timeout={REQUEST_SECONDS}s", *words, namespace=namespace)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterTrouble(
                f"`{self.program} {words[0]}` did not end within {DEADLINE_SECONDS} s: try "
                "`kubectl version`"
            ) from error
        except OSError as error:
            raise ClusterTrouble(missing(self.program, error)) from error
        if done.returncode != 0:
            raise ClusterTrouble(self._explain(words, _without_log(done.stderr)))
        return done.stdout

    def _explain(self, words: tuple[str, ...], said: str) -> str:
        low = said.lower()
        if any(sign in low for sign in _UNREACHABLE):
            remedy = "check --context and `kubectl version`; with --redis-url no cluster is needed"
            return f"the cluster cannot be reached: {said}; {remedy}"
        if "the server doesn't have a resource type" in low and RESOURCE in words:
            return (
                "this cluster knows no WorkerPools: is it the right one (--context)? If so, "
                "install the operator first"
            )
        if "forbidden" in low:
            return f"the cluster forbids it: {said}; docs/cli.md lists the rights it takes"
        return f"`kubectl {words[0]}` failed: {said or 'it said nothing'}"

    def _there(self) -> str:
        return f" in namespace {self.namespace}" if self.namespace else " in the current namespace"

    def _names(self) -> str:
        names = self.run("get", RESOURCE, "--output=name").split()
        if not names:
            return "it has none at all; look into another with -n, `kubectl get wp -A` lists them"
        return "there are " + ", ".join(sorted(name.partition("/")[2] for name in names))


def _without_log(said: str) -> str:
    """Leave out what kubectl's libraries log, `E1127 10:23:45.678901 …`; the error follows it."""
    kept = [line for line in said.splitlines() if not _LOGGED.match(line)]
    return "\n".join(kept).strip()


def missing(program: str, error: OSError) -> str:
    """Say that kubectl cannot be run."""
    return (
        f"{program} cannot be run ({error.strerror}): install kubectl or put it on PATH (KUBECTL "
        "names another); with --redis-url none is needed"
    )


def _json(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ClusterTrouble("kubectl did not print JSON: does `kubectl version` work?") from error
    if not isinstance(document, Mapping):
        raise ClusterTrouble("kubectl did not print an object")
    return document
