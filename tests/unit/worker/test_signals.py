"""A pod may be told to go while its supervisor is still being loaded."""

import subprocess
import sys

LOOK = """
import runpy, signal, sys

class Looker:
    def find_spec(self, name, *_):
        if name.startswith("image_worker.") and name != "image_worker.__main__":
            print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            sys.exit(0)

import image_worker
sys.meta_path.insert(0, Looker())
runpy.run_module("image_worker", run_name="__main__")
"""


def test_no_end_is_missed_while_it_is_being_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
