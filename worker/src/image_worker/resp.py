"""What is said on a connection to Redis: words out, replies in (RESP2).

Pure but for the `receive` it is handed.  It must not know what any command means.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

Word = str | int | bytes
_END: Final = b"\r\n"
_READ_BYTES: Final = 64 << 10


def _head(size: int) -> bytes:
    return b"$%d\r\n" % size


_HEADS: Final = [_head(size) for size in range(256)]
"""To write one takes longer than all else that is done for a word."""


class Refused(Exception):
    """A reply that is an error; it begins with what Redis calls it: READONLY, LOADING ..."""

    @property
    def code(self) -> str:
        """Return the first word."""
        return str(self).partition(" ")[0]


def packed(words: Sequence[Word]) -> bytes:
    """Write a command."""
    return b"*%d\r\n%b" % (len(words), bulks(words))


def bulks(words: Sequence[Word]) -> bytes:
    """Write some words of a command."""
    parts: list[bytes] = []
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts += (_HEADS[len(data)] if len(data) < len(_HEADS) else _head(len(data)), data, _END)
    return b"".join(parts)


class Replies:
    """Reads whole replies, whatever pieces the connection cuts them into."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._unread = b""
        self._keeping = True

    def heard(self) -> Any:  # noqa: ANN401  bool, or Refused
        """Read one reply and keep none of it: say only whether it was something or nothing.

        Of bytes only what came with their beginning is ever held, however many they are.
        """
        self._keeping = False
        try:
            reply = self.next()
        finally:
            self._keeping = True
        return reply if isinstance(reply, Refused) else reply is not None

    def next(self) -> Any:  # noqa: ANN401  bytes, int, None, a list of these, or Refused
        """Read one reply; an error is returned, not raised, so that what follows stays in step.

        Raises ConnectionError when the other side is gone, or does not speak RESP2.
        """
        line, found, rest = self._unread.partition(b"\r\n")
        while not found:
            self._more()
            line, found, rest = self._unread.partition(b"\r\n")
        self._unread = rest
        kind, text = line[:1], line[1:]
        if kind == b"$":
            return self._bytes(int(text))
        if kind == b":":
            return int(text)
        if kind == b"*":
            return [self.next() for _ in range(int(text))] if text != b"-1" else None
        if kind == b"+":
            return text
        if kind == b"-":
            return Refused(text.decode(errors="replace"))
        raise ConnectionError(f"no reply begins with {line[:20]!r}")

    def _bytes(self, size: int) -> bytes | None:
        if size < 0:
            return None
        if len(self._unread) < size + 2:
            return self._completed(size)
        data, self._unread = self._unread[:size], self._unread[size + 2 :]
        return data

    def _completed(self, size: int) -> bytes:
        """Read on, without going through what is there once more for each piece."""
        parts = [self._unread]
        missing = size + 2 - len(self._unread)
        while missing > 0:
            part = self._part()
            missing -= len(part)
            if self._keeping or missing <= 0:
                parts.append(part)
        last = parts[-1]
        self._unread = last[len(last) + missing :]
        return b"".join(parts)[:size] if self._keeping else b""

    def _more(self) -> None:
        self._unread += self._part()

    def _part(self) -> bytes:
        part = self._receive(_READ_BYTES)
        if not part:
            raise ConnectionError("Redis closed the connection")
        return part
