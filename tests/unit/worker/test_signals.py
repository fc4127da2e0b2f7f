"""A pod may be told to go while its supervisor is still being loaded."""

import subprocess
import sys

import pytest

LOOK = """
import os, runpy, signal, sys

os.getpid = lambda: int(sys.argv[1])

class Looker:
    def find_spec(self, name, *_):
        if name.startswith("image_worker.") and name != "image_worker.__main__":
            print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            sys.exit(0)

import image_worker
sys.meta_path.insert(0, Looker())
runpy.run_module("image_worker", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("pid", "kept"),
    [
        pytest.param(1, True, id="process 1 would never get it otherwise"),
        pytest.param(7, False, id="any other ends by it at once"),
    ],
)
def test_no_end_is_missed_while_it_is_being_loaded(pid: int, kept: bool) -> None:  # noqa: FBT001
    command = ["env", "--block-signal=TERM", sys.executable, "-c", LOOK, str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"{kept}\n", "")
