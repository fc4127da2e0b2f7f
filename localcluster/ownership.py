"""One cluster per machine, and everybody can see whose.

The owner's name lies in a private tmpfs at a fixed place. It says which checkout the processes,
namespaces and control groups belong to; it vanishes, like all of them, when the machine restarts.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster import locks, mounts
from localcluster.commands import run
from localcluster.errors import OwnedElsewhere
from localcluster.files import write_whole
from localcluster.layout import RUN

_RECORD = RUN / "owner.json"


@dataclass(frozen=True)
class Owner:
    """Whose cluster it is, and whether it was ever started completely."""

    checkout: str
    is_complete: bool


def exclusive() -> AbstractContextManager[None]:
    """Let one command at a time change the cluster, whichever checkout it comes from."""
    return locks.held(
        Path("/run"),
        timeout_seconds=300,
        otherwise="another localcluster command is still at work; end it and try again",
    )


def current() -> Owner | None:
    """Return the owner of the cluster on this machine; None if there is no cluster."""
    try:
        record = json.loads(_RECORD.read_text())
    except FileNotFoundError:
        return None
    return Owner(record["checkout"], record["is_complete"])


def check(checkout: Path) -> None:
    """Raise OwnedElsewhere if the cluster on this machine is another checkout's."""
    owner = current()
    if owner is None or owner.checkout == str(checkout):
        return
    there = Path(owner.checkout)
    remedy = f"run `make down` in {there}" if there.is_dir() else "that folder is gone"
    raise OwnedElsewhere(
        f"the cluster on this machine belongs to {there}: {remedy}; "
        "`python3 -m localcluster down --whoever-owns-it` here removes it too"
    )


def claim(checkout: Path, *, is_complete: bool) -> None:
    """Write down whose cluster it is; before anything of it exists, and again when it is whole."""
    if RUN not in mounts.points():
        RUN.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "mode=755,size=16m", "localcluster", RUN])
        run(["mount", "--make-private", RUN])
    write_whole(_RECORD, json.dumps(asdict(Owner(str(checkout), is_complete))))


def release() -> None:
    """Forget the owner, and with it the namespaces that were held there; the last step of all."""
    for point in reversed(mounts.points()):
        if point.is_relative_to(RUN):
            run(["umount", "--lazy", point])
    if RUN.is_dir():
        RUN.rmdir()
