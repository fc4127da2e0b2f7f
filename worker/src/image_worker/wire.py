"""What a supervisor and its decoding child say to each other, over one socket pair.

Pure but for the socket it is handed.  A frame is four bytes of length, big-endian, then the
body.  Down: a word, then a job's payload, opaque bytes that the supervisor never looks into, so
that nothing a producer writes is parsed outside a child.  Up: one Ready, then one outcome per
job, or what the job asks first; then it comes down again with the word that it may be done.
"""

import json
import struct
from dataclasses import dataclass
from typing import Final, Protocol

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES = 4 << 20  # payloads and outcomes are far smaller
LOOK: Final = b"?"
"""The word for a job that may ask for something before it is done."""
GO: Final = b"!"
"""The word for one that may be done whatever it asks."""
_READ_BYTES: Final = 16 << 10  # a frame of usual size comes with a single read
_from_json: Final = json.JSONDecoder().decode
_to_json: Final = json.JSONEncoder().encode


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
    result: dict[str, object] | None = None
    """What goes to the list of results; none if nobody asked."""
    pushed_ms: int | None = None
    """When the job was pushed, if its producer says so."""


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


@dataclass(frozen=True, slots=True)
class Asks:
    """The job was not begun: it wants a time to come, or to be the only one with its id."""

    id: str | None
    not_before_ms: int | None


Outcome = Done | Rejected | Failed
Answer = Outcome | Asks
_ANSWERS: Final[dict[str, type[Answer]]] = {
    kind.__name__: kind for kind in (Done, Rejected, Failed, Asks)
}


class Frames:
    """Sends and receives whole bodies, whatever pieces the stream cuts them into."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._unread = b""

    def send(self, body: bytes) -> None:
        """Write one frame."""
        self._stream.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> bytes:
        """Read one frame; raises EOFError when the other side is gone."""
        have = self._unread or self._read()
        while len(have) < _LENGTH.size:
            have += self._read()
        (length,) = _LENGTH.unpack_from(have)
        if length > MAX_FRAME_BYTES:
            raise EOFError(f"a frame of {length} bytes: the other side has lost its mind")
        end = _LENGTH.size + length
        if len(have) < end:
            have = self._completed(have, end)
        self._unread = have[end:]
        return have[_LENGTH.size : end]

    def _completed(self, start: bytes, size: int) -> bytes:
        parts = [start]
        missing = size - len(start)
        while missing > 0:
            parts.append(self._read())
            missing -= len(parts[-1])
        return b"".join(parts)

    def _read(self) -> bytes:
        part = self._stream.recv(_READ_BYTES)
        if not part:
            raise EOFError("the other side closed the connection")
        return part


def encode(message: Ready | Answer) -> bytes:
    """Write a message as JSON: its kind, then its fields in their order."""
    values = [getattr(message, name) for name in message.__slots__]
    return _to_json([type(message).__name__, *values]).encode()


def decode_ready(body: bytes) -> Ready:
    """Read the first message of a child."""
    _, pid, cpus = _from_json(body.decode())
    return Ready(pid, tuple(cpus))


def decode_answer(body: bytes) -> Answer:
    """Read what became of a job, or what it asks first."""
    kind, *values = _from_json(body.decode())
    return _ANSWERS[kind](*values)
