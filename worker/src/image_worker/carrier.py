"""The carrying child: fetches what is not in a folder, has it decoded, and takes away what came.

`python -m image_worker.carrier [--cpu N]`, with a socket as standard input, stands between the
supervisor and a decoding child where photos or renditions are in buckets or on other hosts.  It
has the network and the buckets' credentials, and decodes nothing; its child decodes, in a folder
of its own, and has neither.  Both are killed together when a job takes too long.
"""

import fcntl
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from random import Random
from typing import TYPE_CHECKING, BinaryIO

from image_worker import buckets, job, settings, storage, wire
from image_worker.errors import ConfigError, RejectedJob, TransientFailure
from image_worker.keeper import START_WITHIN, Keeper
from image_worker.places import Place
from image_worker.presets import thumbnail
from image_worker.service import die_with_parent, keep_secrets, serve, take_seat
from image_worker.settings import ImageSettings
from image_worker.web import Web, is_public

if TYPE_CHECKING:
    from obstore.store import S3Store

SCRATCH_PREFIX = "image-worker-scratch-"
PHOTO = "photo"
TO_FETCH = 0.75
"""Of a job's time: what comes later could not be decoded in the rest, and we would be killed."""
# What a decoding child needs of the environment besides its settings; credentials it does not.
PLAIN = frozenset({"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "VIRTUAL_ENV"})
NOT_FOR_DECODERS = frozenset({"WORKERPOOL_S3_ENDPOINT", "WORKERPOOL_HTTP_HOSTS"})


class Carrier:
    """Carries for one decoding child."""

    def __init__(self, images: ImageSettings, decoder: Keeper, scratch: Path, web: Web) -> None:
        self._images = images
        self._decoder = decoder
        self._scratch = scratch
        self._web = web
        self._source = self._store(images.source)
        self._sink = self._store(images.sink)
        self._sweeper = storage.Sweeper(images.job_timeout + storage.SWEEP_MARGIN)

    def carry(self, raw: bytes) -> wire.Outcome:
        """Do one job; whatever happens comes back as an outcome."""
        try:
            return self._carried(job.parse(raw))
        except RejectedJob as error:
            return wire.Rejected(error.reason, error.sentence)
        except TransientFailure as error:
            return wire.Failed(error.reason, error.sentence)
        except Exception as error:  # noqa: BLE001 (the edge of the task: a bug fails one job)
            return wire.Failed("Unexpected", f"{type(error).__name__}: {error}")
        finally:
            _empty(self._scratch)

    def _carried(self, work: job.Job) -> wire.Outcome:
        wanted = self._images.presets.chosen(work.presets)
        outputs = [work.output(one) for one in wanted or (thumbnail(1),)]
        if work.report:
            outputs.append(work.report_path)  # last: when it is there, all the rest is
        with (self._scratch / "in" / PHOTO).open("wb") as photo:
            self._fetch(work, photo)
        result = self._decoder.go_on(_letter(work), self._images.job_timeout)
        if not isinstance(result, wire.Done | wire.Rejected | wire.Failed):
            # Its end is ours: the supervisor counts it, and starts us both anew.
            sys.stderr.write(f"the decoding child is gone: {result}\n")
            os._exit(1)
        if not isinstance(result, wire.Done):
            return result
        for output in outputs:
            self._put(output)
        return replace(result, filename=str(work.source), pushed_ms=work.pushed_ms)

    def _fetch(self, work: job.Job, photo: BinaryIO) -> None:
        most = self._images.max_file_bytes
        if isinstance(work.source, job.Address):
            self._web.fetch(work.source.url, photo, max_bytes=most)
        elif self._source is not None:
            buckets.fetch(self._source, work.source, photo, max_bytes=most)
        else:
            storage.copy(self._images.input_dir, work.source, photo, max_bytes=most)

    def _put(self, output: PurePosixPath) -> None:
        made = self._scratch / "out" / output
        if self._sink is not None:
            buckets.store(self._sink, output, made)
        else:
            data = made.read_bytes()
            storage.write(self._images.output_dir, output, data, sweeper=self._sweeper)

    def _store(self, place: Place) -> "S3Store | None":
        if isinstance(place, Path):
            return None
        return buckets.opened(place, self._images.endpoint, self._images.job_timeout * TO_FETCH)


def _letter(work: job.Job) -> bytes:
    """Write the job for the decoding child, whose photo always has the same name."""
    fields: dict[str, object] = {
        "filename": PHOTO,
        "output": str(work.name),
        "report": work.report,
    }
    if work.presets:
        fields["presets"] = work.presets
    return json.dumps(fields).encode()


def scratch_folder(base: Path) -> Path:
    """Make a folder of our own, and remove those whose owners were killed.

    An owner holds a lock that the kernel takes away with it.
    """
    for left in base.glob(f"{SCRATCH_PREFIX}*"):
        with suppress(OSError):
            folder = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(folder)
    while True:
        own = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=base))
        if _locked(own):
            _empty(own)
            return own


def _locked(folder: Path) -> bool:
    """Lock it for as long as we live; False if another took it for left behind before that."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(file, fcntl.LOCK_EX)
    if folder.exists():
        return True
    os.close(file)
    return False


def decoder_environ(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Say what the decoding child is told: its settings, and no credential."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in PLAIN or name.startswith(("PYTHON", settings.PREFIX))
    }
    for name in NOT_FOR_DECODERS:
        kept.pop(name, None)
    places = {"INPUT_DIR": scratch / "in", "OUTPUT_DIR": scratch / "out"}
    return kept | {f"{settings.PREFIX}{name}": str(path) for name, path in places.items()}


def main(allowed_address: Callable[[str], bool] = is_public) -> int:
    """Run until the supervisor hangs up."""
    die_with_parent()
    keep_secrets()
    if not take_seat(sys.argv[1:]):
        return 2
    try:
        images = settings.with_presets(settings.read_images(os.environ))
        scratch = scratch_folder(Path(tempfile.gettempdir()))
        decoder = Keeper(
            None,  # it inherits our core
            environ=decoder_environ(os.environ, scratch),
            chance=Random(),  # noqa: S311 (jitter, no secrets)
            on_start=lambda _: None,
            on_death=lambda _: None,
        )
        seconds = (images.job_timeout * TO_FETCH).total_seconds()
        web = Web(images.hosts, seconds=seconds, allowed_address=allowed_address)
        carrier = Carrier(images, decoder, scratch, web)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    decoder.start()
    if not decoder.wait_ready(START_WITHIN.total_seconds()):
        return 1

    def carried(raw: bytes) -> wire.Outcome:
        if decoder.pid is not None:
            with suppress(OSError):  # we may have been moved to another core
                os.sched_setaffinity(decoder.pid, os.sched_getaffinity(0))
        return carrier.carry(raw)

    try:
        with socket.socket(fileno=0) as stream:
            serve(stream, carried)
    finally:
        decoder.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _empty(scratch: Path) -> None:
    for name in ("in", "out"):
        shutil.rmtree(scratch / name, ignore_errors=True)
        (scratch / name).mkdir()


if __name__ == "__main__":
    sys.exit(main())
