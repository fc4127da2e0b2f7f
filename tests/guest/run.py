"""`make guest-check`: the worker on a kernel with cgroup v2, hyper-threads and memory nodes.

A stock Debian kernel under QEMU: two sockets of one core with two hardware threads, a memory node
each. Needs root (for the disks) and the packages of `make guest-packages`. ACCEL=kvm is faster
where nested virtualisation works; the default, tcg, works everywhere, and takes minutes.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from guest import image
from localcluster import locks
from localcluster.errors import TimedOut

NEEDED = ("qemu-system-x86_64", "mmdebstrap", "mkfs.ext4")
SECONDS = 3000.0
"""Enough for a processor made of software on two cores that others use, too."""
STOP_SECONDS = 10.0
AT_WORK = "another `make guest-check` is at work in this checkout; wait for its end"
LINE = "guest-check: "
MACHINE = (
    *("-m", "1536M", "-smp", "4,sockets=2,cores=1,threads=2"),
    *("-object", "memory-backend-ram,id=near,size=768M"),
    *("-object", "memory-backend-ram,id=far,size=768M"),
    *("-numa", "node,memdev=near,cpus=0-1", "-numa", "node,memdev=far,cpus=2-3"),
    *("-nodefaults", "-display", "none", "-no-reboot"),
)
KERNEL = "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off systemd.show_status=0"


def main() -> int:
    """Judge this machine, then the worker; returns 0 if all checks passed."""
    # Debian keeps sbin from the PATH of people, and `su` from that of root.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        sys.stderr.write(f"{', '.join(missing)}: not installed; run `make guest-packages`\n")
        return 2
    if os.geteuid() != 0:
        sys.stderr.write("the guest's disks are made by root: run `sudo make guest-check`\n")
        return 2
    image.BUILD.mkdir(parents=True, exist_ok=True)
    try:
        with locks.held(image.BUILD, timeout_seconds=0, otherwise=AT_WORK):
            return check()
    except TimedOut as error:
        sys.stderr.write(f"{error}\n")
        return 2


def check() -> int:
    """Build, boot, show what the guest says; disks and logs are there once in a checkout."""
    say("making the disks …\n")
    disks = image.made()
    said = image.BUILD / "checks.log"
    console = image.BUILD / "console.log"
    said.write_bytes(b"")
    say("booting …\n")
    started = time.monotonic()
    guest = subprocess.Popen(command(disks, os.environ.get("ACCEL", "tcg"), console, said))
    try:
        follow(guest, said, started + SECONDS)
    finally:
        if guest.poll() is None:
            guest.terminate()
            try:
                guest.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                guest.kill()
                guest.wait(STOP_SECONDS)
    counts = verdict(said.read_text(errors="replace"))
    if counts is None:
        say(f"the guest did not finish its checks; read {console} and {said}\n")
        return 1
    say(json.dumps({"seconds": round(time.monotonic() - started), **counts}) + "\n")
    return 0 if counts["passed"] and not counts["failed"] else 1


def command(disks: image.Disks, accelerator: str, console: Path, said: Path) -> list[str]:
    """Return QEMU's arguments; neither disk is ever written to."""
    # AMD's way to tell of hardware threads is not emulated.
    processor = "host" if accelerator == "kvm" else "max,vendor=GenuineIntel"
    drives = (
        f"file={disk},if=virtio,format=raw,snapshot=on" for disk in (disks.system, disks.ours)
    )
    return [
        # Should we be killed ourselves, it ends all the same.
        *("timeout", "--kill-after=10", f"{SECONDS + 60:g}"),
        *("nice", "-n", "19", "qemu-system-x86_64"),
        *("-accel", accelerator, "-cpu", processor, *MACHINE),
        *(word for drive in drives for word in ("-drive", drive)),
        *("-kernel", str(disks.kernel), "-initrd", str(disks.initrd), "-append", KERNEL),
        *("-serial", f"file:{console}", "-serial", f"file:{said}"),
    ]


def follow(guest: subprocess.Popen[bytes], said: Path, deadline: float) -> None:
    """Show what the checks say until the guest is off or the time is up."""
    with said.open(errors="replace") as lines:
        while True:
            ended = guest.poll() is not None
            say(lines.read().replace("\r", ""))
            if ended:
                return
            if time.monotonic() > deadline:
                say(f"\nnot done within {SECONDS:g} s\n")
                return
            time.sleep(0.5)


def say(text: str) -> None:
    """Show text at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def verdict(text: str) -> dict[str, int] | None:
    """Read how many checks passed and failed; None if they did not come to their end."""
    found = re.search(rf"^{LINE}(\{{.*\}})\s*$", text, re.MULTILINE)
    return None if found is None else dict(json.loads(found[1]))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the guest is ended, too
    sys.exit(main())
