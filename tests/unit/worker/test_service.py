"""What a child may see of those who started it."""

import os
import subprocess
import sys

import pytest

NOBODY = 65534
# Who is root may read anything, and who changes its user is hidden by that alone: so become
# nobody, be as visible as a process is that was started as nobody, and look from a child.
SCRIPT = f"""
import ctypes, os
from image_worker import service
if os.geteuid() == 0:
    os.setgid({NOBODY}); os.setuid({NOBODY})
ctypes.CDLL(None).prctl(service.PR_SET_DUMPABLE, 1, 0, 0, 0)
def seen():
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            open(f"/proc/{{os.getppid()}}/environ", "rb").read()
            os.write(writer, b"seen")
        except PermissionError:
            os.write(writer, b"hidden")
        os._exit(0)
    os.wait()
    return os.read(reader, 10).decode()
before = seen()
service.keep_secrets()
print(before, seen())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel that workers run on")
def test_a_child_cannot_read_the_environment_of_who_has_the_credentials() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["seen", "hidden"]
