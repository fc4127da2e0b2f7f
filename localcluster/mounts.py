"""What is mounted on this machine; `os.path.ismount` overlooks folders bound onto themselves."""

from pathlib import Path

from localcluster.errors import LocalClusterError


def points() -> list[Path]:
    """Return every mount point that this process sees."""
    return parse(Path("/proc/self/mountinfo").read_text())


def parse(mountinfo: str) -> list[Path]:
    """Read the mount points from the text of /proc/self/mountinfo, where spaces are octal."""
    fields = [line.split()[4] for line in mountinfo.splitlines()]
    return [Path(field.encode().decode("unicode_escape")) for field in fields]


def refuse_below(folder: Path) -> None:
    """Raise if something is mounted in a folder: deleting it would reach into what is mounted."""
    if inside := [point for point in points() if point.is_relative_to(folder)]:
        raise LocalClusterError(
            f"something is mounted in {folder}: {', '.join(map(str, inside))}; "
            "unmount it and try again"
        )
