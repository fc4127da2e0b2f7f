"""What is mounted on this machine; `os.path.ismount` overlooks folders bound onto themselves."""

import re
from pathlib import Path

from localcluster.errors import LocalClusterError


def points() -> list[Path]:
    """Return every mount point that this process sees."""
    return parse(Path("/proc/self/mountinfo").read_text())


def file_system(folder: Path, mounts: str | None = None) -> str:
    """Return the kind of file system that a folder lies on; empty where the kernel has no list.

    `mounts` stands in for the text of /proc/self/mounts, in which the last of a point counts.
    """
    table = Path("/proc/self/mounts")
    if mounts is None:
        mounts = table.read_text() if table.exists() else ""
    kind, depth = "", -1
    for line in mounts.splitlines():
        _, where, this_kind, *_ = line.split()
        point = _unescape(where)
        if folder.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = this_kind, len(point.parts)
    return kind


def parse(mountinfo: str) -> list[Path]:
    """Read the mount points from the text of /proc/self/mountinfo, where spaces are octal."""
    return [_unescape(line.split()[4]) for line in mountinfo.splitlines()]


def refuse_below(folder: Path) -> None:
    """Raise if something is mounted in a folder: deleting it would reach into what is mounted."""
    if inside := [point for point in points() if point.is_relative_to(folder)]:
        raise LocalClusterError(
            f"something is mounted in {folder}: {', '.join(map(str, inside))}; "
            "unmount it and try again"
        )


def _unescape(field: str) -> Path:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    return Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field))
