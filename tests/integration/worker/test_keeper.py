"""One child's succession, with children that behave as badly as they can."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from image_worker import keeper, wire
from image_worker.backoff import Backoff
from image_worker.keeper import Died, Keeper, TimedOut, describe
from image_worker.wear import LOOK_EVERY_JOBS, NEVER, Reason, Wear
from support.waiting import eventually

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
READY_SECONDS = 60.0
HEAD = """
import os, signal, socket, sys, time
from image_worker import wire
stream = socket.socket(fileno=0)
frames = wire.Frames(stream)
"""
READY = "frames.send(wire.encode(wire.Ready(os.getpid(), (0,))))\n"
DONE = 'frames.send(wire.encode(wire.Done("a", 1, 2, 3, 4)))\n'
WORKS = READY + "while True:\n    frames.receive()\n    " + DONE
Start = Callable[..., Keeper]


class Events:
    def __init__(self) -> None:
        self.starts: list[int] = []
        self.deaths: list[str] = []
        self.recycled: list[tuple[int, Reason]] = []

    def started(self, ready: wire.Ready) -> None:
        self.starts.append(ready.pid)

    def died(self, how: str) -> None:
        self.deaths.append(how)

    def worn(self, pid: int, reason: Reason) -> None:
        self.recycled.append((pid, reason))


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def start(tmp_path: Path, events: Events) -> Iterator[Start]:
    keepers = []

    def start(code: str, wear: Wear = NEVER) -> Keeper:
        file = tmp_path / "child.py"
        file.write_text(HEAD + code)
        made = Keeper(
            None,
            environ=os.environ,
            chance=Random(1),
            on_start=events.started,
            on_death=events.died,
            on_recycle=events.worn,
            wear=wear,
            command=(sys.executable, str(file)),
        )
        keepers.append(made)
        made.start()
        return made

    yield start
    for one in keepers:
        one.stop(1)


def test_jobs_go_down_and_outcomes_come_up(start: Start) -> None:
    child = start(WORKS)
    assert child.wait_ready(READY_SECONDS)
    for _ in range(3):
        assert child.run(b"job", MINUTE) == wire.Done("a", 1, 2, 3, 4)


def test_a_child_has_its_seat_when_it_says_so_and_not_before(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    child = start(
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        + READY
        + "frames.receive()\n"
    )
    eventually(lambda: child.pid, "the child's process")
    assert child.seated is None
    gate.touch()
    assert child.wait_ready(READY_SECONDS)
    assert child.seated == child.pid


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path, events: Events) -> None:
    program, code = tmp_path / "program", HEAD + READY + "frames.receive()\n"
    child = Keeper(
        None,
        environ=os.environ,
        chance=Random(1),
        on_start=events.started,
        on_death=events.died,
        command=(str(program), "-c", code),
    )
    child.start()
    eventually(lambda: len(events.deaths) > keeper.PROMPT_RESTARTS, "several tries")
    assert "could not be started" in events.deaths[0]
    unfinished = tmp_path / "unfinished"
    unfinished.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    unfinished.chmod(0o755)
    unfinished.rename(program)
    assert child.wait_ready(READY_SECONDS)
    child.stop(1)


def test_a_child_that_is_not_ready_in_time_is_replaced_and_that_is_told(
    start: Start, events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    monkeypatch.setattr(keeper, "START_WITHIN", SECOND * 5)
    child = start(
        f"if os.path.exists({str(slow)!r}):\n"
        f"    os.remove({str(slow)!r})\n"
        f"    time.sleep(3600)\n" + WORKS
    )
    assert child.wait_ready(READY_SECONDS)
    # More than one, if the machine holds up those that would be ready in time.
    assert set(events.deaths) == {"was not ready within 5 s, and was killed"}


def test_a_child_that_dies_at_work_is_told_from_one_that_ended(start: Start) -> None:
    child = start(READY + "frames.receive()\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert child.wait_ready(READY_SECONDS)
    assert child.run(b"job", MINUTE) == Died("was killed by SIGSEGV")
    assert child.wait_ready(READY_SECONDS)


def test_a_child_that_takes_too_long_is_killed(start: Start, events: Events) -> None:
    child = start(READY + "time.sleep(3600)\n")
    assert child.wait_ready(READY_SECONDS)
    assert child.run(b"job", SECOND / 10) == TimedOut()
    eventually(lambda: len(events.starts) >= 2, "the next child")
    assert events.deaths[0] == "was killed by SIGKILL"


def test_a_child_that_reads_nothing_cannot_hold_its_supervisor(start: Start) -> None:
    child = start(READY + "time.sleep(3600)\n")
    assert child.wait_ready(READY_SECONDS)
    assert child.run(b"x" * wire.MAX_FRAME_BYTES, SECOND / 10) == TimedOut()


@pytest.mark.parametrize(
    "answer", ["b'not JSON'", "b'{}'", "b'[]'", "b'[\"Done\"]'", "b'[\"exit\"]'"]
)
def test_nonsense_is_an_end(start: Start, answer: str) -> None:
    child = start(READY + f"frames.receive()\nframes.send({answer})\ntime.sleep(60)\n")
    assert child.wait_ready(READY_SECONDS)
    result = child.run(b"job", MINUTE)
    assert isinstance(result, Died)
    assert child.wait_ready(READY_SECONDS)


def test_a_child_that_was_gone_already_did_not_start_the_job(start: Start) -> None:
    child = start(READY + "stream.shutdown(socket.SHUT_RDWR)\nstream.close()\ntime.sleep(60)\n")
    assert child.wait_ready(READY_SECONDS)
    eventually(
        lambda: isinstance(child.run(b"job", SECOND), keeper.NotStarted | Died), "its hanging up"
    )


def test_a_child_that_cannot_start_is_started_again_ever_more_slowly(
    start: Start, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[int, int]] = []

    class Noted(Backoff):
        def next_seconds(self) -> float:
            seconds = super().next_seconds()
            waits.append((len(events.deaths), self.failures))
            return seconds

    monkeypatch.setattr(keeper, "Backoff", Noted)
    child = start("sys.exit(3)\n")
    eventually(lambda: len(waits) >= 3, lambda: f"three waits: {events.deaths}")
    assert set(events.deaths) <= {"exited with 3", "was killed by SIGKILL"}
    assert not child.wait_ready(0)
    assert events.starts == []
    prompt = keeper.PROMPT_RESTARTS
    assert waits[:3] == [(prompt + 1, 1), (prompt + 2, 2), (prompt + 3, 3)], "at once before"


def test_to_stop_ends_the_child_even_if_it_does_not_listen(start: Start) -> None:
    child = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "time.sleep(3600)\n")
    assert child.wait_ready(READY_SECONDS)
    pid = child.pid
    child.stop(0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_a_kill_from_another_thread_ends_a_running_job(start: Start, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    child = start(
        READY + f"frames.receive()\nopen({str(begun)!r}, 'w').close()\ntime.sleep(3600)\n"
    )
    assert child.wait_ready(READY_SECONDS)

    def kill_it_at_work() -> None:
        eventually(begun.exists, "the job to run")
        child.kill()

    killer = threading.Thread(target=kill_it_at_work)
    killer.start()
    assert child.run(b"job", MINUTE) == Died("was killed by SIGKILL")
    killer.join()


def worked(child: Keeper, jobs: int) -> list[int]:
    """Have jobs done one after the other; return the processes that did them."""
    pids = []
    for _ in range(jobs):
        assert child.wait_ready(READY_SECONDS)
        pids.append(child.seated or 0)
        assert child.run(b"job", MINUTE) == wire.Done("a", 1, 2, 3, 4)
    return pids


def test_a_child_is_replaced_after_its_jobs_and_that_is_no_death(
    start: Start, events: Events
) -> None:
    pids = worked(start(WORKS, Wear(jobs=2)), 6)
    assert pids[0::2] == pids[1::2]
    assert len(set(pids)) == 3
    assert events.recycled == [(pid, Reason.JOBS) for pid in pids[1::2]]
    assert events.deaths == []
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids[:4])


def test_a_child_that_has_grown_too_large_is_replaced_and_one_that_has_not_is_kept(
    start: Start, events: Events
) -> None:
    grows = READY + "kept = []\nwhile True:\n    frames.receive()\n"
    grows += "    kept.append(os.urandom(8 << 20))\n    " + DONE
    pids = worked(start(grows, Wear(resident_bytes=96 << 20)), 40)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [LOOK_EVERY_JOBS] * 2 + [8]
    assert {reason for _, reason in events.recycled} == {Reason.MEMORY}
    assert events.deaths == []
    assert len(set(worked(start(WORKS, Wear(resident_bytes=96 << 20)), 40))) == 1


def test_what_a_child_has_started_counts_as_its_own(start: Start, events: Events) -> None:
    starts = "import subprocess\n"
    starts += "code = 'import os, sys; x = os.urandom(96 << 20); print(); sys.stdin.read()'\n"
    starts += "pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
    starts += "subprocess.Popen([sys.executable, '-c', code], **pipes).stdout.readline()\n"
    pids = worked(start(starts + WORKS, Wear(resident_bytes=96 << 20)), LOOK_EVERY_JOBS + 1)
    assert len(set(pids)) == 2
    assert events.recycled == [(pids[0], Reason.MEMORY)]


def test_a_job_that_asks_first_counts_once_and_is_not_cut_off_from_its_grant(
    start: Start, events: Events
) -> None:
    asks = (
        READY
        + "while True:\n    frames.receive()\n"
        + '    frames.send(wire.encode(wire.Asks("id", None)))\n    frames.receive()\n    '
        + DONE
    )
    child = start(asks, Wear(jobs=1))
    for _ in range(2):
        assert child.wait_ready(READY_SECONDS)
        assert child.run(b"job", MINUTE) == wire.Asks("id", None)
        assert child.go_on(b"job", MINUTE) == wire.Done("a", 1, 2, 3, 4)
        assert not child.ready
    assert len(events.recycled) == 2


def test_a_child_that_is_replaced_just_as_all_ends_has_no_successor(
    start: Start, events: Events
) -> None:
    child = start(WORKS, Wear(jobs=1))
    worked(child, 1)
    child.kill()
    child.stop(1)
    eventually(lambda: child.pid is None, "the last one's end")
    assert set(events.deaths) <= {"was killed by SIGKILL"}, "the next one, if it was there already"
    assert all(not Path(f"/proc/{pid}").exists() for pid in events.starts)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with 0"),
        (2, "exited with 2"),
        (-9, "was killed by SIGKILL"),
        (-signal.SIGRTMIN - 1, "was killed by signal"),
    ],
)
def test_an_end_is_said_in_words(code: int, words: str) -> None:
    assert describe(code).startswith(words)
