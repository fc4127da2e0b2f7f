"""The decoding child: payloads in, thumbnails on disk, outcomes out.

`python -m image_worker.child [--cpu N]`, with a socket as standard input.  It knows images
and files; it must not know Redis (no credential ever reaches the process that decodes what
strangers uploaded), and it ends with its supervisor, however that ends.
"""

import os
import socket
import sys
import time
from pathlib import PurePosixPath

from image_worker import imaging, job, memory, report, settings, storage, wire
from image_worker.decoding import Limits
from image_worker.errors import ConfigError, RejectedJob, TransientFailure
from image_worker.presets import thumbnail
from image_worker.service import die_with_parent, serve, take_seat


def process(
    raw: bytes, images: settings.ImageSettings, sweeper: storage.Sweeper | None = None
) -> wire.Outcome:
    """Do one job; whatever happens comes back as an outcome."""
    started = time.perf_counter()
    try:
        work = job.parse(raw)
        made, outputs = _made(work, images, sweeper)
    except RejectedJob as error:
        return wire.Rejected(error.reason, error.sentence)
    except TransientFailure as error:
        return wire.Failed(error.reason, error.sentence)
    except MemoryError as error:
        return wire.Failed("OutOfMemory", f"the child ran out of memory ({error or 'decoding'})")
    except Exception as error:  # noqa: BLE001 (the edge of the task: a bug fails one job)
        return wire.Failed("Unexpected", f"{type(error).__name__}: {error}")
    return wire.Done(
        filename=str(work.source),
        milliseconds=round((time.perf_counter() - started) * 1000),
        width=made.renditions[0].width,
        height=made.renditions[0].height,
        output_bytes=sum(len(rendition.data) for rendition in made.renditions),
        result=report.document(made, outputs) if images.results_kept else None,
        pushed_ms=work.pushed_ms,
    )


def _made(
    work: job.Job, images: settings.ImageSettings, sweeper: storage.Sweeper | None
) -> tuple[imaging.Rendered, list[PurePosixPath]]:
    """Make what the job asks for and put it in place, the report last."""
    wanted = images.presets.chosen(work.presets) or (thumbnail(images.longest_side),)
    outputs = [work.output(preset) for preset in wanted]  # before any work: it may be refused
    if isinstance(work.source, job.Address):
        raise RejectedJob(
            "AddressNotAllowed", "this pool reads no addresses: WORKERPOOL_HTTP_HOSTS names none"
        )
    photo = storage.read(images.input_dir, work.source, max_bytes=images.max_file_bytes)
    limits = Limits(pixels=images.max_pixels, room=memory.room)
    rendered = imaging.render(photo, wanted, limits, describe=work.report)
    for output, rendition in zip(outputs, rendered.renditions, strict=True):
        storage.write(images.output_dir, output, rendition.data, sweeper=sweeper)
    if work.report:
        storage.write(images.output_dir, work.report_path, report.written(rendered, outputs))
    return rendered, outputs


def main() -> int:
    """Run until the supervisor hangs up."""
    die_with_parent()
    if not take_seat(sys.argv[1:]):
        return 2
    try:
        images = settings.with_presets(settings.read_images(os.environ))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    memory.go_first()
    memory.limit(memory.WITHOUT_LIMIT if images.memory_bytes is None else images.memory_bytes)
    sweeper = storage.Sweeper(images.job_timeout + storage.SWEEP_MARGIN)
    with socket.socket(fileno=0) as stream:
        serve(stream, lambda raw: process(raw, images, sweeper))
    return 0


if __name__ == "__main__":
    sys.exit(main())
