"""The guest's disks: a small Debian with a stock kernel, and our programs and checks.

Knows mmdebstrap, uv and mkfs.ext4. The first disk is made once for a list of packages; the second
is made anew for each run, so that what is checked is what lies in the checkout.
"""

import shutil
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / ".build" / "guest"
INSIDE = Path(__file__).parent / "inside"
UV = CHECKOUT / ".venv" / "bin" / "uv"
SUITE = "bookworm"
PYTHON = "3.11"
"""The suite's."""
PACKAGES = (
    "systemd-sysv",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "python3",
    "redis-server",
    "util-linux",
)
UNREAD = ("doc", "man", "locale", "info", "lintian", "bug")
"""Folders of /usr/share that nothing here reads."""
# /bin is a link from the start: the package that makes it one later brings 50 MB of Perl.
NO_USRMERGE = r"""
folder="$1/etc/apt/preferences.d"
mkdir -p "$folder"
printf 'Package: usrmerge\nPin: version *\nPin-Priority: -1\n' >"$folder/no-usrmerge"
"""
MERGED_USR = (
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    f"--setup-hook={NO_USRMERGE}",
)
SERVICE = "guest-checks.service"
RELIED_UPON = ("support", "guest/inside")
"""Folders of tests/ that the checks are made of."""
BUILD_SECONDS = 1200


@dataclass(frozen=True)
class Disks:
    """What a guest boots from."""

    kernel: Path
    initrd: Path
    system: Path
    ours: Path


def made() -> Disks:
    """Make what is missing, and the second disk in any case."""
    recipe = repr((SUITE, PACKAGES, UNREAD, MERGED_USR)).encode()
    recipe += (INSIDE / SERVICE).read_bytes()
    folder = BUILD / f"system-{sha256(recipe).hexdigest()[:12]}"
    if not folder.exists():
        _make_system(folder)
    return Disks(folder / "vmlinuz", folder / "initrd", folder / "system.ext4", _make_ours())


def _make_system(folder: Path) -> None:
    work = BUILD / "system.work"
    root = work / "root"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _run(
        *("mmdebstrap", "--variant=minbase", "--mode=root", *MERGED_USR),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD),
        "--aptopt=APT::Install-Recommends false",
        *(f"--include={','.join(PACKAGES)}", SUITE, str(root)),
    )
    for name in ("vmlinuz", "initrd"):
        (found,) = (root / "boot").glob(f"{name}*-*")
        found.rename(work / name)
    (root / "etc/fstab").write_text("/dev/vdb /opt ext4 defaults 0 0\n")
    (root / "etc/machine-id").write_text("uninitialized\n")
    units = root / "etc/systemd/system"
    shutil.copy(INSIDE / SERVICE, units)
    (units / "multi-user.target.wants" / SERVICE).symlink_to(f"../{SERVICE}")
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"):
        (units / timer).symlink_to("/dev/null")
    _filesystem(root, work / "system.ext4", megabytes=1024)
    shutil.rmtree(root)
    work.rename(folder)


def _make_ours() -> Path:
    """Install the worker as docs/second-machine.md says, with pytest beside it."""
    root = BUILD / "ours.work"
    shutil.rmtree(root, ignore_errors=True)
    libraries = root / "image-worker/lib" / f"python{PYTHON}" / "site-packages"
    libraries.mkdir(parents=True)
    (root / "image-worker/bin").mkdir()
    (root / "image-worker/bin/python").symlink_to("/usr/bin/python3")
    (root / "image-worker/pyvenv.cfg").write_text("home = /usr/bin\n")
    install = (
        *(str(UV), "pip", "install", "--quiet", "--python", str(CHECKOUT / ".venv/bin/python")),
        *("--python-version", PYTHON, "--python-platform", "x86_64-unknown-linux-gnu"),
        *("--link-mode=copy", "--compile-bytecode", "--target", str(libraries)),
    )
    locks = CHECKOUT / "locks"
    _run(*install, "--require-hashes", "-r", str(locks / "worker.txt"))
    _run(*install, "-c", str(locks / "dev.txt"), "pytest", "pytest-timeout")
    _run(*install, "--no-deps", "--no-build-isolation", str(CHECKOUT / "worker"))
    for name in RELIED_UPON:
        _copy(CHECKOUT / "tests" / name, root / "tests" / name)
    _copy(CHECKOUT / "localcluster", root / "tests/localcluster")
    _copy(CHECKOUT / "deploy", root / "deploy")
    disk = BUILD / "ours.ext4"
    _filesystem(root, disk, megabytes=256)
    shutil.rmtree(root)
    return disk


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _filesystem(root: Path, disk: Path, *, megabytes: int) -> None:
    disk.unlink(missing_ok=True)
    _run("mkfs.ext4", "-q", "-d", str(root), str(disk), f"{megabytes}M")


def _run(*command: str) -> None:
    """Run a command that takes its time; what it said is shown if it fails."""
    done = subprocess.run(
        ("nice", "-n", "19", *command),
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise SystemExit(f"{' '.join(command[:2])} ended with {done.returncode}:\n{said}")
