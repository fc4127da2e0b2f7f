"""A picture and its preset → bytes.

Pure.  It knows the encoders and their settings; it must not know sources, files or jobs.
"""

import io
from collections.abc import Sequence

from PIL import AvifImagePlugin, Image

from image_worker.colour import opaque
from image_worker.presets import Form, Preset

AVIF_SPEED = 8  # 0 to 10; at 6, Pillow's own choice, a photo takes three times as long
WEBP_EFFORT = 2  # 0 to 6; at 4, Pillow's own choice, twice as long for 2 % fewer bytes
FORMATS = {Form.JPEG: "JPEG", Form.PNG: "PNG", Form.WEBP: "WEBP", Form.AVIF: "AVIF"}
# Bytes, and bytes per pixel, measured and rounded up.  Refused memory, libaom may crash and
# libwebp does not say why it failed: so it has to be there beforehand.
MEMORY = {Form.WEBP: (8 << 20, 12), Form.AVIF: (16 << 20, 36)}
assert AvifImagePlugin.SUPPORTED  # noqa: S101 (this Pillow is locked: a build without it is a mistake)


def memory_needed(picture: Image.Image, preset: Preset) -> int:
    """Return the bytes that have to be free, for encoders that do not fail well without."""
    base, per_pixel = MEMORY.get(preset.form, (0, 0))
    return base + per_pixel * picture.width * picture.height


def encoded(picture: Image.Image, preset: Preset, owner: Image.Exif) -> bytes:
    """Encode one picture; of what the photo said, only its owner goes on."""
    still = opaque(picture) if preset.form is Form.JPEG else picture
    # Encoders copy comments and profiles out of `info`.
    still.info.clear()
    options: dict[str, object] = {}
    match preset.form:
        case Form.JPEG:
            options = {
                "quality": preset.quality,
                "progressive": preset.progressive,
                "optimize": preset.optimize,
            }
        case Form.PNG:
            options = {"optimize": preset.optimize}
        case Form.WEBP:
            options = {"quality": preset.quality, "method": WEBP_EFFORT}
        case Form.AVIF:
            # One process, one core: threads would run on cores that are not ours.
            options = {"quality": preset.quality, "speed": AVIF_SPEED, "max_threads": 1}
    return _saved(still, preset.form, owner, options)


def animated(
    pictures: Sequence[Image.Image],
    milliseconds: Sequence[int],
    preset: Preset,
    owner: Image.Exif,
    *,
    plays: int,
) -> bytes:
    """Encode several pictures that follow each other as a WebP; 0 plays are for ever."""
    first, *others = pictures
    for picture in pictures:
        picture.info.clear()
    options: dict[str, object] = {
        "quality": preset.quality,
        "method": WEBP_EFFORT,
        "save_all": True,
        "append_images": others,
        "duration": list(milliseconds),
        "loop": plays,
    }
    return _saved(first, Form.WEBP, owner, options)


def _saved(
    picture: Image.Image, form: Form, owner: Image.Exif, options: dict[str, object]
) -> bytes:
    out = io.BytesIO()
    if owner:
        options |= {"exif": owner}
    try:
        picture.save(out, FORMATS[form], **options)
    except MemoryError:
        raise
    except Exception as error:
        # The picture is our own and whole, so it is no fault of the photo's: encoders that are
        # refused memory say all sorts of things.
        raise MemoryError(f"{form} cannot be encoded: {error}") from error
    return out.getvalue()
