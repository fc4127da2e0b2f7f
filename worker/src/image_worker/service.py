"""What every child of a supervisor does: sit where it is told, answer, and end with its parent.

And what those do who have credentials: they keep them from children of the same user.
It knows processes and frames; it must not know what is asked or answered.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence

from image_worker import cores, terms, wire
from image_worker.errors import RejectedJob

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def serve(stream: wire.Stream, work: Callable[[bytes], wire.Outcome]) -> None:
    """Say that we are ready, then answer each payload until the supervisor hangs up."""
    ready = wire.Ready(pid=os.getpid(), cpus=tuple(sorted(os.sched_getaffinity(0))))
    frames = wire.Frames(stream)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        frames.send(wire.encode(ready))
        while True:
            body = frames.receive()
            frames.send(wire.encode(_answer(body[:1], body[1:], work)))


def _answer(word: bytes, raw: bytes, work: Callable[[bytes], wire.Outcome]) -> wire.Answer:
    try:
        asked = terms.asked(raw) if word == wire.LOOK else None
    except RejectedJob as error:
        return wire.Rejected(error.reason, error.sentence)
    return asked or work(raw)


def die_with_parent() -> None:
    """Ask the kernel to kill us when the supervisor dies, and check that it still lives."""
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(0)


def keep_secrets() -> None:
    """Have the kernel show nobody of our user what is in our environment and memory.

    Children have another environment and the same user, and decode what strangers uploaded.  What
    they run is theirs again: a new program begins without this.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def take_seat(arguments: Sequence[str]) -> bool:
    """Go to the core that `--cpu N` names; returns whether the arguments could be read."""
    match arguments:
        case ["--cpu", cpu]:
            try:
                cores.pin({int(cpu)})
            except OSError as error:
                # A core may be taken away while the pod lives; better unpinned than not at all.
                sys.stderr.write(f"cannot be pinned to core {cpu}: {error.strerror}\n")
        case []:
            pass
        case _:
            sys.stderr.write("the only arguments are --cpu N; standard input is a socket\n")
            return False
    return True
