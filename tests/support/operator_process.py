"""The operator as a process of its own, with the rights that its manifests give it.

with ApiServer() as api:
    install(api)
    with OperatorProcess(api) as operator: ...
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from support.api_server import ROOT, ApiServer
from support.context import Context
from support.waiting import eventually

START_DEADLINE_SECONDS = 60.0
STOP_DEADLINE_SECONDS = 60.0
ANSWER_SECONDS = 30.0
NAMESPACE = "workerpool-system"
ACCOUNT = "workerpool-operator"
LEASE = "workerpool-operator"
QUICK = {
    "WORKERPOOL_TICK_SECONDS": "0.05",
    "WORKERPOOL_SAFETY_POLL_SECONDS": "1",
    "WORKERPOOL_SURVEY_SECONDS": "0.5",
    # A machine that stands still for some seconds is no server that is silent: no news, no
    # second attempt, no other leader.
    "WORKERPOOL_REQUEST_TIMEOUT_SECONDS": "15",
    "WORKERPOOL_LEADER_LEASE_SECONDS": "60",
    # There are no nodes here, unless a test makes some.
    "WORKERPOOL_CAPACITY": "false",
}
"""So that tests wait for little more, and see little more, than what they are about."""
HASTY = {
    "WORKERPOOL_REQUEST_TIMEOUT_SECONDS": "1",
    "WORKERPOOL_LEADER_LEASE_SECONDS": "10",
}
"""For tests of servers that are silent."""


def install(api: ApiServer) -> None:
    """Install what a cluster needs for the operator, its own Deployment aside."""
    api.kubectl("apply", "--server-side", "-f", ROOT / "manifests" / "install.yaml")
    api.kubectl("delete", "deployment", "--all", "--namespace", NAMESPACE)
    api.kubectl("wait", "--for=condition=Established", "crd/workerpools.workerpool.dev")


def operator_kubeconfig(api: ApiServer, path: Path, *, server: str | None = None) -> Path:
    """Write a kubeconfig with the rights of the operator's service account."""
    token = api.kubectl("create", "token", ACCOUNT, "--namespace", NAMESPACE).stdout.strip()
    authority = str(api.folder / "ca.crt")
    cluster = {"server": server or api.url, "certificate-authority": authority}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "operator"}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(config))
    return path


def await_right(api: ApiServer, *, granted: bool, **what: str) -> None:
    """Wait until the API server acts on a change of what the operator may do."""
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    user = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    review = {"spec": {"user": user, "resourceAttributes": what}}
    eventually(
        lambda: api.request("POST", path, review).body["status"]["allowed"] is granted,
        f"{what} to be {'granted' if granted else 'refused'}",
    )


class OperatorProcess(Context):
    """One operator, ended when the context ends; its log is kept for whoever asks why."""

    def __init__(
        self,
        api: ApiServer,
        settings: Mapping[str, str] | None = None,
        *,
        server: str | None = None,
        ready: bool = True,
        in_pod: Path | None = None,
    ) -> None:
        """Describe it: its settings; the API server's address, if not its own; whether to wait
        until it is ready; the folder it finds in place of a pod's service account.
        """
        self._api = api
        self._settings = {**QUICK, **(settings or {})}
        self._server = server
        self._ready = ready
        self._in_pod = in_pod
        self._folder = tempfile.TemporaryDirectory(prefix="operator-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def log(self) -> str:
        """What it has said."""
        path = Path(self._folder.name) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def entries(self, **fields: object) -> list[dict[str, Any]]:
        """Return the log's entries that have all these fields."""
        entries: list[dict[str, Any]] = [
            json.loads(line)
            for line in self.log.splitlines(keepends=True)
            if line.startswith("{") and line.endswith("\n")  # whole: one may be half written yet
        ]
        return [e for e in entries if all(e.get(name) == v for name, v in fields.items())]

    def _begin(self) -> None:
        self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            sys.stderr.write(f"the operator's log:\n{self.log[-8000:]}\n")
        super().__exit__(kind, error, trace)

    def _end(self) -> None:
        if self._process is not None:
            self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        folder = Path(self._folder.name)
        kubeconfig = operator_kubeconfig(self._api, folder / "kubeconfig", server=self._server)
        self.port = _free_port()
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # A test run that is killed must not leave it behind.
                ["setpriv", "--pdeathsig", "KILL", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    **({} if self._in_pod else {"KUBECONFIG": str(kubeconfig)}),
                    "WORKERPOOL_WORKER_IMAGE": "image-worker:test",
                    "WORKERPOOL_HTTP_PORT": str(self.port),
                    # The same for all: whoever holds the lease under its own name goes on at once.
                    "POD_NAME": "operator-under-test",
                    "POD_NAMESPACE": NAMESPACE,
                    "WORKERPOOL_LEADER_LEASE_NAME": LEASE,
                    **self._settings,
                },
            )
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while self._ready and self.health("readyz") != 200:
            assert self.running, f"the operator ended:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"the operator is not ready:\n{self.log[-4000:]}"
            time.sleep(0.02)

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "workerpool_operator"]
        if self._in_pod is None:
            return command
        # A mount namespace of its own, so that the machine's /run stays as it is.
        folder = "/run/secrets/kubernetes.io/serviceaccount"
        script = (
            f"mount -t tmpfs tmpfs /run && mkdir -p {folder} "
            f'&& mount --bind "$0" {folder} && exec "$@"'
        )
        return ["unshare", "--mount", "sh", "-c", script, str(self._in_pod), *command]

    def health(self, path: str) -> int:
        """Return the status of one of its health addresses; 0 if it does not answer."""
        try:
            with self._get(path) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> dict[str, float]:
        """Return its metrics, by name and labels."""
        with self._get("metrics") as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def _get(self, path: str) -> Any:  # noqa: ANN401  urllib's
        return urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/{path}", timeout=ANSWER_SECONDS
        )

    def stop(self) -> tuple[int, float]:
        """Ask it to end; return its exit status and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(STOP_DEADLINE_SECONDS)
        return status, time.monotonic() - began

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_DEADLINE_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
