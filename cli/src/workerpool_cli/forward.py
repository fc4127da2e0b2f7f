"""A way to a service or pod inside the cluster, for as long as the tool runs.

One kubectl child of our own, ended by its process id.  It stays in our process group on
purpose: what ends the terminal ends it too.
"""

import re
import selectors
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from workerpool_cli.address import Target
from workerpool_cli.errors import ClusterTrouble
from workerpool_cli.kubectl import Kubectl, missing

READY_SECONDS = 15.0
END_SECONDS = 5.0
MAX_SAID = 4096
_READY = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ->")


@contextmanager
def forwarded(kubectl: Kubectl, target: Target, clock: Callable[[], float]) -> Iterator[int]:
    """Open a port-forward; yields the local port, and closes it at the end."""
    words = kubectl.words(
        "port-forward",
        "--address=127.0.0.1",
        f"{target.kind}/{target.name}",
        f":{target.port}",
        namespace=target.namespace,
    )
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
            )
        except OSError as error:
            raise ClusterTrouble(missing(kubectl.program, error)) from error
        try:
            yield _ready_port(process, target, complaints, clock)
        finally:
            _end(process)


def _ready_port(
    process: subprocess.Popen[bytes],
    target: Target,
    complaints: IO[bytes],
    clock: Callable[[], float],
) -> int:
    """Wait for the line that tells the port."""
    if process.stdout is None:
        raise AssertionError("it was started with a pipe")
    deadline = clock() + READY_SECONDS
    heard = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - clock()) > 0:
            if not selector.select(left):
                continue
            piece = process.stdout.read1(MAX_SAID)  # type: ignore[attr-defined]
            heard += piece
            if match := _READY.search(heard):
                return int(match[1])
            if not piece:
                break
    complaints.seek(0)
    said = complaints.read(MAX_SAID).decode(errors="replace").strip()
    raise ClusterTrouble(
        f"no port-forward to {target.kind}/{target.name} in namespace {target.namespace}: "
        f"{said or f'kubectl said nothing for {READY_SECONDS:.0f} s'}; does it exist, and is a "
        "pod of it ready? With --redis-url you can name another way to Redis"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
