"""Photos to thumbnails: bytes → bytes.

Pure, and the only module that knows Pillow.  It decides from the header whether a picture
may be decoded at all; it must not know files, jobs' payloads or Redis.
"""

import io
import warnings
from dataclasses import dataclass

from PIL import (
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from image_worker.errors import RejectedJob

# Only these plugins are ever loaded: fewer decoders to attack, and less memory.  Pictures of
# several cameras in one file (MPO) come through JPEG's.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
    )
)
JPEG_QUALITY = 85
DEPTH_16_TO_8 = 1 / 256
ORIENTATION = 0x0112
# What makes a picture upright, by its EXIF orientation; 1 is upright already.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FIRST_SIDEWAYS = 5  # from here on rows and columns change places

# Pillow's own limit warns first and raises at twice the figure; ours is checked here, once.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded JPEG, its size, and the size the photo had as it was meant to be seen."""

    data: bytes
    width: int
    height: int
    source_width: int
    source_height: int


def thumbnail(data: bytes, *, longest_side: int, max_pixels: int) -> Thumbnail:
    """Make an upright RGB or grey JPEG without metadata, never larger than the photo.

    Raises RejectedJob for whatever is not a photo we can and may decode.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # about EXIF that we throw away
            Image.open(io.BytesIO(data), formats=FORMATS) as image,
        ):
            _refuse_bombs(image, max_pixels)
            return _render(image, longest_side)
    except RejectedJob:
        raise
    except UnidentifiedImageError as error:
        raise RejectedJob(
            "NotAnImage", f"the file is none of {', '.join(FORMATS)} ({len(data)} bytes)"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise what they like on hostile bytes: OSError, SyntaxError, ValueError,
        # struct.error, IndexError.  The bytes are in memory, so all of them mean the same.
        raise RejectedJob("BrokenImage", f"the image cannot be decoded: {error}") from error


def _refuse_bombs(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise RejectedJob(
            "TooManyPixels",
            f"the image has {image.width}x{image.height} pixels; {max_pixels} are the most",
        )


def _render(image: Image.Image, longest_side: int) -> Thumbnail:
    orientation = _orientation(image)
    full = image.size
    size = _fit(full, longest_side)
    # A JPEG decoder can skip most of the work when it knows how few pixels are wanted.
    image.draft(None, size)
    small = _drawable(image)
    if small.size != size:
        small = small.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    small = _opaque(small)
    if orientation in UPRIGHT:  # turn the small picture, not the large one
        small = small.transpose(UPRIGHT[orientation])
    # The encoder would copy a comment out of `info`; nothing of the photo's words goes on.
    small.info.clear()
    out = io.BytesIO()
    small.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    source = full[::-1] if orientation >= FIRST_SIDEWAYS else full
    return Thumbnail(out.getvalue(), *small.size, *source)


def _fit(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    longest = max(size)
    if longest <= longest_side:
        return size
    scale = longest_side / longest
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 (broken EXIF is no reason to refuse a good picture)
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _drawable(image: Image.Image) -> Image.Image:
    """Bring every mode to one that can be resized truly: L, RGB or RGBA."""
    match image.mode:
        case "L" | "RGB" | "RGBA":
            image.load()
            return image
        case "1":
            return image.convert("L")
        case mode if mode.startswith("I"):
            return image.convert("I").point(lambda value: value * DEPTH_16_TO_8).convert("L")
        case _ if image.has_transparency_data:
            return image.convert("RGBA")
        case _:
            return image.convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper
