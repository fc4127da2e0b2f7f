"""What a supervisor and its decoding child say to each other, over one socket pair.

Pure but for the socket it is handed.  A frame is four bytes of length, big-endian, then the
body.  Down: a job's payload, opaque bytes that the supervisor never looks into, so that
nothing a producer writes is parsed outside a child.  Up: one Ready, then one outcome per job.
"""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Final, Protocol

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES = 4 << 20  # payloads and outcomes are far smaller


class Stream(Protocol):
    """The part of a socket that is needed here."""

    def recv(self, size: int, /) -> bytes: ...  # noqa: D102
    def sendall(self, data: bytes, /) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Ready:
    """The child is up: its process, and the cores the kernel lets it run on."""

    pid: int
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The thumbnail is in place."""

    filename: str
    milliseconds: int
    width: int
    height: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The job can never succeed."""

    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The job may succeed later."""

    reason: str
    sentence: str


Outcome = Done | Rejected | Failed
_OUTCOMES: Final[dict[str, type[Outcome]]] = {
    kind.__name__: kind for kind in (Done, Rejected, Failed)
}


def send(stream: Stream, body: bytes) -> None:
    """Write one frame."""
    stream.sendall(_LENGTH.pack(len(body)) + body)


def receive(stream: Stream) -> bytes:
    """Read one frame; raises EOFError when the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise EOFError(f"a frame of {length} bytes: the other side has lost its mind")
    return _exactly(stream, length)


def encode(message: Ready | Outcome) -> bytes:
    """Write a message as JSON."""
    return json.dumps({"is": type(message).__name__, **asdict(message)}).encode()


def decode_ready(body: bytes) -> Ready:
    """Read the first message of a child."""
    fields = json.loads(body)
    return Ready(pid=fields["pid"], cpus=tuple(fields["cpus"]))


def decode_outcome(body: bytes) -> Outcome:
    """Read what became of a job."""
    fields = json.loads(body)
    kind = _OUTCOMES[fields.pop("is")]
    return kind(**fields)


def _exactly(stream: Stream, size: int) -> bytes:
    chunk = stream.recv(size) if size else b""
    if len(chunk) == size:
        return chunk
    parts = []
    while True:
        if not chunk:
            raise EOFError("the other side closed the connection")
        parts.append(chunk)
        size -= len(chunk)
        if not size:
            return b"".join(parts)
        chunk = stream.recv(size)
