"""Replies of Redis, in whatever pieces they come."""

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
