import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker import wire

OUTCOMES = [
    wire.Done("ü\n.jpg", 12, 3, 4, 5),
    wire.Rejected("BadJson", "no\nJSON"),
    wire.Failed("Storage", "disk full"),
    wire.Asks("ü-1", None),
    wire.Asks(None, 1_700_000_000_000),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_survives_the_wire(outcome: wire.Answer) -> None:
    assert wire.decode_answer(wire.encode(outcome)) == outcome


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", ValueError),
        (b"\xff", ValueError),
        (b'["Failed", "Storage", "disk full"] x', ValueError),
        (b"[" * 100_000, RecursionError),
        (b"7", TypeError),
        (b"[]", ValueError),
        (b"[[]]", TypeError),
        (b'["Ready", 7, [0]]', KeyError),
        (b'["Done"]', TypeError),
        (b'["Done", ["a.jpg"], 1, 2, 3, 4, null, null]', TypeError),
        (b'["Done", "a.jpg", 1, 2, 3, 4.5, null, null]', TypeError),
        (b'["Done", "a.jpg", 1, 2, 3, 4, "result", null]', TypeError),
        (b'["Done", "a.jpg", 1, 2, 3, 4, null, null, 5]', TypeError),
        (b'["Rejected", "BadJson", null]', TypeError),
        (b'["Asks", 7, null]', TypeError),
    ],
)
def test_nonsense_is_no_answer(answer: bytes, why: type[Exception]) -> None:
    with pytest.raises(why):
        wire.decode_answer(answer)


def test_ready_survives_the_wire() -> None:
    ready = wire.Ready(pid=7, cpus=(0, 3))
    assert wire.decode_ready(wire.encode(ready)) == ready


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_frames_keep_their_borders_whatever_they_hold(bodies: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for body in bodies:
            wire.Frames(ours).send(body)
        frames = wire.Frames(theirs)
        assert [frames.receive() for _ in bodies] == bodies


def test_a_frame_larger_than_any_socket_buffer_arrives_whole() -> None:
    body = bytes(range(256)) * 8000
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=wire.Frames(ours).send, args=(body,))
        sender.start()
        assert wire.Frames(theirs).receive() == body
        sender.join()


@pytest.mark.parametrize("sent", [b"", b"\0", struct.pack(">I", 5), struct.pack(">I", 5) + b"abc"])
def test_an_end_in_the_middle_of_a_frame_is_an_end(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(sent)
        with pytest.raises(EOFError):
            wire.Frames(theirs).receive()


def test_a_senseless_length_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(EOFError, match="lost its mind"):
            wire.Frames(theirs).receive()
