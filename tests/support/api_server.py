"""A real etcd and kube-apiserver for tests: the whole API with RBAC and validation, and no nodes.

It knows how to start and end the two, and how to speak to them: `kubectl` for what people type,
`request` for JSON. It does not know what is stored. Nothing runs here: no controller answers a
Deployment, no default service account is made, deleted owners leave their dependents behind.

    with ApiServer() as api:
        api.kubectl("apply", "-f", "manifests/crd.yaml")
        api.request("GET", "/apis/workerpool.dev/v1alpha1/workerpools")
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.context import Context

ROOT = Path(__file__).parents[2]
BINARIES = ROOT / ".build" / "bin"
START_DEADLINE_SECONDS = 60.0
STOP_DEADLINE_SECONDS = 60.0
REQUEST_SECONDS = 30.0
IDLE_SECONDS = 30.0
"""The API server closes connections that were idle for 90 s."""
PORT_ATTEMPTS = 5
AUDIT = "audit.log"

Document = dict[str, Any]


class ApiServerError(RuntimeError):
    """The server did not do what the test asked for; the message says what it answered."""


@dataclass(frozen=True)
class Answer:
    """What the API server answered to one request."""

    code: int
    body: Document

    @property
    def message(self) -> str:
        """The text of a Status: why a request was refused."""
        return str(self.body.get("message", ""))


class ApiServer(Context):
    """One etcd and one kube-apiserver, ended and their folder removed when the context ends."""

    def __init__(self, binaries: Path = BINARIES, *, audited: str = "") -> None:
        """Keep a record of what the user `audited` asks for, if one is named."""
        self._binaries = binaries
        self._audited = audited
        self._folder: Path | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connection: http.client.HTTPSConnection | None = None
        self._used_at = 0.0
        self.port = 0

    @property
    def folder(self) -> Path:
        """Where its data, certificates and logs lie."""
        if self._folder is None:
            raise ApiServerError("this ApiServer is not running; use it in a with statement")
        return self._folder

    @property
    def url(self) -> str:
        """Its address, for clients that trust `folder / "ca.crt"`."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the administrator; it names the certificates in `folder`."""
        return self.folder / "kubeconfig"

    def _begin(self) -> None:
        for name in ("etcd", "kube-apiserver", "kubectl"):
            if not (self._binaries / name).exists():
                raise ApiServerError(f"{name} is not in {self._binaries}: run `make programs`")
        # A unix socket's path is limited to 107 bytes, and pytest's tmp_path often is longer.
        self._folder = Path(tempfile.mkdtemp(prefix="api-"))
        _make_certificates(self._folder)
        self._start_on_a_free_port()

    def kubectl(
        self, *words: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; a failure raises unless `check` is off."""
        done = subprocess.run(
            [self._binaries / "kubectl", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=REQUEST_SECONDS,
            check=False,
            # HOME: kubectl caches discovery there, and each server has its own.
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.kubeconfig),
            },
        )
        if check and done.returncode != 0:
            raise ApiServerError(f"kubectl {' '.join(map(str, words))}:\n{done.stderr}")
        return done

    def request(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request as the administrator and return whatever is answered."""
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            self._disconnect()
        if self._connection is None:
            self._connection = self.connection()
        self._used_at = time.monotonic()
        try:
            self._connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": content_type, "Accept": "application/json", **(headers or {})},
            )
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self._disconnect()
            raise
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = {"message": text.decode(errors="replace")}
        return Answer(response.status, parsed)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def connection(self) -> http.client.HTTPSConnection:
        """Return a connection of one's own as the administrator, for a watch."""
        trust = ssl.create_default_context(cafile=self.folder / "ca.crt")
        trust.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=REQUEST_SECONDS, context=trust
        )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the API server still: connections stay open and nothing answers."""
        process = self._processes[-1]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the API server as a crash would; etcd keeps what is stored."""
        process = self._processes.pop()
        process.kill()
        process.wait(STOP_DEADLINE_SECONDS)

    def start(self) -> None:
        """Start a killed API server again, at its old address."""
        self._run("kube-apiserver", self._api_server_arguments())
        self._wait_until_ready()

    def _start_on_a_free_port(self) -> None:
        self._run("etcd", _etcd_arguments(self.folder))
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = _free_port()
            _write_kubeconfig(self.kubeconfig, self.url)
            process = self._run("kube-apiserver", self._api_server_arguments())
            try:
                self._wait_until_ready()
            except ApiServerError:
                # Somebody may have taken the port between our look and the server's bind.
                taken = "address already in use" in self._log("kube-apiserver")
                if attempt == PORT_ATTEMPTS or process.poll() is None or not taken:
                    raise
                self._processes.remove(process)
            else:
                return

    def audit(self) -> list[Document]:
        """Return what the audited user asked for, and what it was answered.

        https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
        """
        *lines, _unfinished = (self.folder / AUDIT).read_text().split("\n")
        return [json.loads(line) for line in lines]

    def _api_server_arguments(self) -> list[str]:
        arguments = _api_server_arguments(self.folder, self.port)
        if self._audited:
            policy = self.folder / "audit-policy.json"
            policy.write_text(json.dumps(_audit_policy(self._audited)))
            arguments += [f"--audit-policy-file={policy}"]
            arguments += [f"--audit-log-path={self.folder / AUDIT}"]
        return arguments

    def _run(self, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                # A test run that is killed must not leave servers behind.
                ["setpriv", "--pdeathsig", "KILL", self._binaries / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self._processes.append(process)
        return process

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self._serves():
            for process in self._processes:
                if process.poll() is not None:
                    raise ApiServerError(f"{process.args!r} ended:\n{self._logs()}")
            if time.monotonic() > deadline:
                raise ApiServerError(f"not ready in {START_DEADLINE_SECONDS} s:\n{self._logs()}")
            time.sleep(0.05)

    def _serves(self) -> bool:
        """Say whether everything is up, RBAC's own roles and the first namespace included."""
        try:
            return (
                self.request("GET", "/readyz").code == http.HTTPStatus.OK
                and self.request("GET", "/api/v1/namespaces/default").code == http.HTTPStatus.OK
            )
        except (OSError, http.client.HTTPException):
            return False

    def _logs(self) -> str:
        return "\n".join(f"{name}: {self._log(name)}" for name in ("etcd", "kube-apiserver"))

    def _log(self, program: str) -> str:
        try:
            return (self.folder / f"{program}.log").read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return "(it wrote no log)"

    def _end(self) -> None:
        self._disconnect()
        # The API server first: without etcd it would spend seconds on retries.
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait(STOP_DEADLINE_SECONDS)
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


def _etcd_arguments(folder: Path) -> list[str]:
    # Sockets, so that no port is needed; what is advertised must be a port, and nobody dials it.
    nowhere = "http://127.0.0.1:1"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=unix://{folder}/etcd.sock",
        f"--listen-peer-urls=unix://{folder}/peer.sock",
        f"--advertise-client-urls={nowhere}",
        f"--initial-advertise-peer-urls={nowhere}",
        f"--initial-cluster=default={nowhere}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server_arguments(folder: Path, port: int) -> list[str]:
    return [
        f"--etcd-servers=unix://{folder}/etcd.sock",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        # Nobody runs here who would make a namespace's default account, which it waits for.
        "--disable-admission-plugins=ServiceAccount",
        f"--client-ca-file={folder}/ca.crt",
        f"--tls-cert-file={folder}/server.crt",
        f"--tls-private-key-file={folder}/server.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/accounts.crt",
        f"--service-account-signing-key-file={folder}/accounts.key",
        # No certificates of its own making outside the folder.
        f"--cert-dir={folder}",
    ]


def _audit_policy(user: str) -> Document:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [user]}, {"level": "None"}],
    }


def _make_certificates(folder: Path) -> None:
    """Make an authority, the server's certificate, the administrator's, and the accounts' key."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key"]
    for name, subject, extras in (
        ("ca", "/CN=test-ca", []),
        ("server", "/CN=kube-apiserver", [*signed, "-addext", "subjectAltName=IP:127.0.0.1"]),
        ("admin", "/O=system:masters/CN=admin", signed),
        ("accounts", "/CN=accounts", []),
    ):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", subject]
        if signed[0] in extras:
            files += ["-addext", "basicConstraints=CA:FALSE"]
        try:
            subprocess.run(
                ["openssl", "req", "-x509", *key, *files, *extras],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=REQUEST_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise ApiServerError(f"openssl: {error.stderr.decode()}") from error


def _write_kubeconfig(path: Path, url: str) -> None:
    folder = path.parent
    cluster = {"server": url, "certificate-authority": str(folder / "ca.crt")}
    user = {
        "client-certificate": str(folder / "admin.crt"),
        "client-key": str(folder / "admin.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(config))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
