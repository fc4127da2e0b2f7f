"""What was made of a photo, written down for whoever shows it.

Pure.  It knows the names of the report's fields; it must not know files or jobs.
"""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from image_worker.imaging import Rendered


def written(rendered: Rendered, outputs: Sequence[PurePosixPath]) -> bytes:
    """Write the report as JSON."""
    return json.dumps(document(rendered, outputs), ensure_ascii=False, indent=2).encode() + b"\n"


def document(rendered: Rendered, outputs: Sequence[PurePosixPath]) -> dict[str, object]:
    """Say what was made, one rendition per output, in the job's order."""
    said: dict[str, object] = {
        "width": rendered.source_width,
        "height": rendered.source_height,
        "format": rendered.source_format.lower(),
    }
    if rendered.look is not None:
        said |= {
            "dominant_colour": rendered.look.dominant,
            "blurhash": rendered.look.blurhash,
        }
    said["renditions"] = [
        {
            "preset": rendition.preset.name or None,
            "file": str(output),
            "format": str(rendition.preset.form),
            "width": rendition.width,
            "height": rendition.height,
            "frames": rendition.frames,
            "bytes": len(rendition.data),
            "milliseconds": rendition.milliseconds,
        }
        for rendition, output in zip(rendered.renditions, outputs, strict=True)
    ]
    return said
