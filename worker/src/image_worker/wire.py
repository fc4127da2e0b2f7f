"""What a supervisor and its decoding child say to each other, over one socket pair.

Pure but for the socket it is handed.  A frame is four bytes of length, big-endian, then the
body.  Down: a word, then a job's payload, opaque bytes that the supervisor never looks into, so
that nothing a producer writes is parsed outside a child.  Up: one Ready, then one outcome per
job, or what the job asks first; then it comes down again with the word that it may be done.
"""

import json
import struct
from dataclasses import dataclass, fields
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Protocol

from image_worker.records import record

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES = 4 << 20  # payloads and outcomes are far smaller
LOOK: Final = b"?"
"""The word for a job that may ask for something before it is done."""
GO: Final = b"!"
"""The word for one that may be done whatever it asks."""
_READ_BYTES: Final = 16 << 10  # a frame of usual size comes with a single read
_from_json: Final = json.JSONDecoder().raw_decode
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


@record
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
_NUMBER: Final = (int, NoneType)
_ANSWERS: Final[dict[str, tuple[type[Answer], tuple[Any, ...]]]] = {
    "Done": (Done, (str, int, int, int, int, (dict, NoneType), _NUMBER)),
    "Rejected": (Rejected, (str, str)),
    "Failed": (Failed, (str, str)),
    "Asks": (Asks, ((str, NoneType), _NUMBER)),
}
"""What a child may answer, and of what types: it decodes what strangers uploaded."""
_VALUES: Final = {
    kind: attrgetter(*(one.name for one in fields(kind)))
    for kind in (Ready, Done, Rejected, Failed, Asks)
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
    kind = type(message)
    return _to_json([kind.__name__, *_VALUES[kind](message)]).encode()


def decode_ready(body: bytes) -> Ready:
    """Read the first message of a child; raises ValueError or TypeError for nonsense."""
    _, pid, cpus = _decoded(body)
    return Ready(pid, tuple(cpus))


def decode_answer(body: bytes) -> Answer:
    """Read what became of a job, or what it asks first; raises for nonsense.

    ValueError, TypeError, KeyError or RecursionError, for nonsense is of many kinds.
    """
    word, *values = _decoded(body)
    kind, types = _ANSWERS[word]
    if not all(map(isinstance, values, types)):
        raise TypeError(f"{word} of {[type(value).__name__ for value in values]}")
    return kind(*values)


def _decoded(body: bytes) -> Any:  # noqa: ANN401
    text = body.decode()
    message, end = _from_json(text)
    if end != len(text):
        raise ValueError(f"{len(text) - end} characters after the message")
    return message
