import os
import subprocess
import sys

import pytest

from image_worker import orphans

DIE = (sys.executable, "-c", "")


@pytest.fixture
def dead() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(DIE)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def is_waited_for(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def test_an_orphan_is_buried(dead: subprocess.Popen[bytes]) -> None:
    orphans.bury(lambda _: False)
    assert not is_waited_for(dead.pid)
    dead.wait()


def test_a_child_with_a_keeper_is_left_to_him(dead: subprocess.Popen[bytes]) -> None:
    orphans.bury(lambda pid: pid == dead.pid)
    assert is_waited_for(dead.pid)
    assert dead.wait() == 0


def test_a_child_that_its_keeper_buries_meanwhile_is_no_trouble(
    dead: subprocess.Popen[bytes],
) -> None:
    def buries_it(pid: int) -> bool:
        if pid == dead.pid:
            assert dead.wait() == 0
        return False

    orphans.bury(buries_it)
    assert not is_waited_for(dead.pid)
