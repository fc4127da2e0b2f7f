"""Replies of Redis, in whatever pieces they come."""

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.resp import Refused, Replies, packed

SAID = (
    b"+OK\r\n"
    b":-7\r\n"
    b"$-1\r\n"
    b"*-1\r\n"
    b"$0\r\n\r\n"
    b"*4\r\n:1\r\n$3\r\njob\r\n$12\r\nid 0 0\r\n\r\nab\r\n:0\r\n"
    b"*0\r\n"
)
MEANT = [b"OK", -7, None, None, b"", [1, b"job", b"id 0 0\r\n\r\nab", 0], []]


def pieces(said: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Receive what was said in pieces of these sizes, and then nothing more."""
    parts = []
    for size in sizes:
        parts.append(said[:size])
        said = said[size:]
    parts = [part for part in [*parts, said] if part]
    return lambda _: parts.pop(0) if parts else b""


@given(st.lists(st.integers(1, 20)))
def test_replies_are_the_same_in_whatever_pieces_they_come(sizes: list[int]) -> None:
    replies = Replies(pieces(SAID, sizes))
    assert [replies.next() for _ in MEANT] == MEANT


def test_an_error_is_returned_with_its_code_and_the_next_reply_stays_in_step() -> None:
    replies = Replies(pieces(b"-READONLY You can't write\r\n:1\r\n", []))
    error = replies.next()
    assert isinstance(error, Refused)
    assert (error.code, str(error)) == ("READONLY", "READONLY You can't write")
    assert replies.next() == 1


@pytest.mark.parametrize("said", [b"", b"*2\r\n:1\r\n", b"$5\r\nab", b"HTTP/1.1 400\r\n"])
def test_a_reply_that_never_ends_and_one_that_is_none_are_a_broken_connection(said: bytes) -> None:
    with pytest.raises(ConnectionError):
        Replies(pieces(said, [])).next()


@given(
    st.lists(
        st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers()), min_size=1
    )
)
def test_words_are_packed_by_their_bytes(words: list[str | bytes | int]) -> None:
    """A command is written as an array of bulk strings, so a reader of replies can read it."""
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    assert Replies(pieces(packed(words), [])).next() == texts


@given(st.lists(st.integers(1, 20)))
def test_what_is_only_heard_is_told_from_nothing_and_leaves_the_next_reply_in_step(
    sizes: list[int],
) -> None:
    replies = Replies(pieces(SAID + SAID, sizes))
    assert [replies.heard() for _ in MEANT] == [meant is not None for meant in MEANT]
    assert [replies.next() for _ in MEANT] == MEANT


def test_an_error_is_heard_as_one() -> None:
    heard = Replies(pieces(b"-OOM no more\r\n", [])).heard()
    assert isinstance(heard, Refused)
    assert heard.code == "OOM"


def endless(size: int) -> Callable[[int], bytes]:
    """Receive a reply of so many bytes, the very same piece again and again, then the next."""
    piece = b"x" * (64 << 10)
    parts = iter([b"$%d\r\n" % size, *[piece] * (size // len(piece)), b"\r\n:1\r\n"])
    return lambda _: next(parts)


def test_a_reply_of_many_bytes_takes_time_in_proportion_and_one_only_heard_no_memory() -> None:
    size = 64 << 20

    def seconds() -> float:
        replies = Replies(endless(size))
        began = time.process_time()
        data = replies.next()
        took = time.process_time() - began
        assert len(data) == size
        assert replies.next() == 1
        return took

    # A machine that stands still may charge us for it, but not each time.
    assert any(seconds() < 2 for _ in range(3)), "quadratic it takes more than ten times that"
    replies = Replies(endless(size))
    tracemalloc.start()
    try:
        assert replies.heard() is True
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert replies.next() == 1
