"""Files below a root: safe to name, whole or absent.

It knows the local file system and nothing of images or jobs.  Every path is walked one
folder at a time with O_NOFOLLOW, so neither `..` nor a symbolic link, nor one swapped in
meanwhile, leads out of the root.  (The root itself may be a link: the operator chose it.)
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from image_worker.errors import RejectedJob, TransientFailure

PARTIAL_PREFIX = ".image-worker-"
PARTIAL_SUFFIX = ".part"
MAX_FOLDERS_KNOWN = 10_000
SWEEP_MARGIN = timedelta(minutes=1)  # between a job's timeout and the death of its child
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMES_THAT_CANNOT_BE = {errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR}


def read(root: Path, path: PurePosixPath, *, max_bytes: int) -> bytes:
    """Read a whole regular file; raises what `opened` does."""
    with opened(root, path, max_bytes=max_bytes) as stream:
        return stream.read()


def copy(root: Path, path: PurePosixPath, out: BinaryIO, *, max_bytes: int) -> None:
    """Copy a whole regular file into another; raises what `opened` does."""
    with opened(root, path, max_bytes=max_bytes) as stream:
        shutil.copyfileobj(stream, out)


@contextmanager
def opened(root: Path, path: PurePosixPath, *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file below a root.

    Raises RejectedJob for what can never be read, TransientFailure for what may yet come:
    a missing file may still be on its way to this node's view of the volume.
    """
    with _translated(path), _folder_of(root, path, create=False) as folder:
        file = os.open(path.name, _READ, dir_fd=folder)
        state = os.fstat(file)
        if not stat.S_ISREG(state.st_mode):
            os.close(file)
            raise RejectedJob("NotAFile", f"{path} is not a regular file")
        with open(file, "rb") as stream:  # noqa: PTH123 (a descriptor, not a path)
            if state.st_size > max_bytes:
                raise RejectedJob(
                    "FileTooLarge", f"{path} has {state.st_size} bytes; {max_bytes} are the most"
                )
            yield stream


class Sweeper:
    """Removes what crashed writers left, from each folder once in a process's life.

    Safe beside other pods on the volume: nobody writes for longer than a job may take, and ages
    are told by the volume's own clock.  A writer that was frozen for longer finds its file gone,
    fails, and its job is done again.
    """

    def __init__(self, older_than: timedelta) -> None:
        self._older_than_seconds = older_than.total_seconds()
        self._swept: set[tuple[int, int]] = set()

    def sweep(self, folder: int, now: float) -> int:
        """Sweep an open folder, if it is new to us, and return how many files went."""
        state = os.fstat(folder)
        if (state.st_dev, state.st_ino) in self._swept:
            return 0
        if len(self._swept) >= MAX_FOLDERS_KNOWN:
            self._swept.clear()
        self._swept.add((state.st_dev, state.st_ino))
        removed = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (
                    entry.name.startswith(PARTIAL_PREFIX) and entry.name.endswith(PARTIAL_SUFFIX)
                ):
                    continue
                with suppress(OSError):  # another pod sweeps too
                    age = now - entry.stat(follow_symlinks=False).st_mtime
                    if age > self._older_than_seconds:
                        os.unlink(entry.name, dir_fd=folder)
                        removed += 1
        return removed


def write(root: Path, path: PurePosixPath, data: bytes, *, sweeper: Sweeper | None = None) -> None:
    """Put a whole file in place, replacing what was there; after return it survives a crash.

    A crash leaves at most a `.image-worker-*.part` beside it, never half a picture; who next
    writes there with a sweeper removes it.
    """
    partial = f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    with _translated(path), _folder_of(root, path, create=True) as folder:
        file = os.open(partial, _CREATE, 0o644, dir_fd=folder)
        try:
            with open(file, "wb") as stream:  # noqa: PTH123
                stream.write(data)
                stream.flush()
                os.fsync(file)
                now = os.fstat(file).st_mtime
            os.replace(partial, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(partial, dir_fd=folder)
            raise
        os.fsync(folder)
        if sweeper is not None:
            with suppress(OSError):  # the picture is in place, and that is what counts
                sweeper.sweep(folder, now)


@contextmanager
def _folder_of(root: Path, path: PurePosixPath, *, create: bool) -> Iterator[int]:
    """Open the folder that holds the path's last part, walking down from the root."""
    folder = _open_root(root, create=create)
    try:
        for name in path.parts[:-1]:
            if name in {"..", "/"}:  # job.py refused these; a second lock on the same door
                raise RejectedJob("BadFilename", f"{path} leads out of its folder")
            below = _enter(folder, name, create=create)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def _open_root(root: Path, *, create: bool) -> int:
    """Open the root; on a new volume the output folder is still to be made."""
    if create:
        with suppress(OSError):  # it exists, or what hinders us hinders opening it too
            root.mkdir(0o755)
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TransientFailure(
            "MissingFolder",
            f"the folder {root} does not exist; is its volume mounted, and writable?",
        ) from error


def _enter(folder: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # another worker was faster, and may not have flushed it yet
        os.mkdir(name, 0o755, dir_fd=folder)
    os.fsync(folder)
    return os.open(name, _FOLDER, dir_fd=folder)


@contextmanager
def _translated(path: PurePosixPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise TransientFailure("MissingFile", f"{path} does not exist") from error
    except OSError as error:
        if error.errno in _NAMES_THAT_CANNOT_BE:
            raise RejectedJob(
                "BadFilename",
                f"{path} cannot be used: {os.strerror(error.errno)} "
                "(symbolic links are not followed)",
            ) from error
        raise TransientFailure("Storage", f"{path}: {error.strerror}") from error
