"""What was made of a photo, written down for whoever shows it.

Pure.  It knows the names of the report's fields; it must not know files or jobs.
"""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from image_worker.imaging import Rendered


def written(rendered: Rendered, outputs: Sequence[PurePosixPath]) -> bytes:
    """Write the report as JSON, one rendition per output, in the job's order."""
    document: dict[str, object] = {
        "width": rendered.source_width,
        "height": rendered.source_height,
        "format": rendered.source_format.lower(),
    }
    if rendered.look is not None:
        document |= {
            "dominant_colour": rendered.look.dominant,
            "blurhash": rendered.look.blurhash,
        }
    document["renditions"] = [
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
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
