"""Bytes from strangers → a picture that may be decoded, and where its top is.

It knows what is accepted and how hostile files are told from photos; nothing is decoded here
before its header allowed it.  It must not know presets, files or jobs.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from image_worker.errors import RejectedJob

# Only these plugins are ever asked: fewer decoders to attack, and less memory.  Pictures of
# several cameras in one file (MPO) come through JPEG's.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
MOVING = frozenset({"GIF", "WEBP", "AVIF"})  # several pictures in an MPO are no animation
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
ARTIST, COPYRIGHT = 0x013B, 0x8298
MAX_OWNER_CHARACTERS = 1_000
READ_BYTES = 1 << 20
WEBP_HEADER_BYTES = 30

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # threads would run on cores that are not ours
Size = tuple[int, int]
Room = Callable[[], int | None]
"""Says how many bytes of memory may still be taken; None is no limit."""
TO_DECODE_PER_PIXEL = 8
"""Decoders that are refused memory call the picture broken: with less, nobody can tell."""

# Pillow's own limit warns first and raises at twice the figure; ours is checked here, once.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused from the header on."""

    pixels: int
    """Of all pictures of an animation together that would be decoded."""
    room: Room = lambda: None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened picture, not decoded yet."""

    image: ImageFile.ImageFile
    orientation: int
    owner: Image.Exif
    """Who made it and whose it is: all that is kept of the EXIF."""

    @property
    def sideways(self) -> bool:
        """Say whether width and height change places when it is upright."""
        return self.orientation >= FIRST_SIDEWAYS

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """Bring a size from stored to upright, or back."""
        return size[::-1] if self.sideways else size

    def upright(self, image: Image.Image) -> Image.Image:
        """Turn a picture made from this one."""
        return image.transpose(UPRIGHT[self.orientation]) if self.orientation in UPRIGHT else image


@contextmanager
def opened(data: bytes, limits: Limits, *, frames: int = 1) -> Iterator[Source]:
    """Open a picture of which `frames` may be decoded; what it raises later is translated too.

    Raises RejectedJob for whatever is not a photo we can and may decode.
    """
    size, room = _webp_size(data), limits.room()
    try:
        if size is not None:  # Pillow has the canvas made before it tells how large it is
            _refuse_bombs(*size, limits, 1)
        with (
            warnings.catch_warnings(action="ignore"),  # about metadata that we throw away
            Image.open(io.BytesIO(data), formats=FORMATS) as image,
        ):
            size = image.size
            _refuse_bombs(*size, limits, min(frames, frames_in(image)) if frames > 1 else 1)
            image.decodermaxblock = READ_BYTES  # the bytes are in memory: fewer, larger bites
            yield Source(image, *_exif(image))
    except (RejectedJob, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise RejectedJob(
            "NotAnImage", f"the file is none of {', '.join(FORMATS)} ({len(data)} bytes)"
        ) from error
    except Exception as error:
        # Decoders raise what they like on hostile bytes: OSError, SyntaxError, ValueError,
        # struct.error, IndexError.  The bytes are in memory, so all of them mean the same,
        # or that they got no memory.
        if (
            size is not None
            and room is not None
            and room < TO_DECODE_PER_PIXEL * size[0] * size[1]
        ):
            raise MemoryError(str(error)) from error
        raise RejectedJob("BrokenImage", f"the image cannot be decoded: {error}") from error


def drawable(image: Image.Image) -> Image.Image:
    """Decode, and bring every mode to one that can be resized truly: L, RGB, RGBA or CMYK."""
    match image.mode:
        case "L" | "RGB" | "RGBA" | "CMYK":
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


def frames_in(image: ImageFile.ImageFile) -> int:
    """Count the pictures of an animation, which for a GIF means to walk through the file."""
    return int(getattr(image, "n_frames", 1)) if image.format in MOVING else 1


def _refuse_bombs(width: int, height: int, limits: Limits, count: int) -> None:
    if width * height * count > limits.pixels:
        times = f" {count} times" if count > 1 else ""
        raise RejectedJob(
            "TooManyPixels",
            f"the image has {width}x{height} pixels{times}; {limits.pixels} are the most",
        )


def _webp_size(data: bytes) -> Size | None:
    """Read the size from a WebP's header; None for anything else.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < WEBP_HEADER_BYTES:
        return None
    match data[12:16]:
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = (
                int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28)
            )
        case _:
            return None
    return width, height


def _exif(image: Image.Image) -> tuple[int, Image.Exif]:
    """Read what matters; broken EXIF is no reason to refuse a good picture."""
    owner = Image.Exif()
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        for tag in (ARTIST, COPYRIGHT):
            words = exif.get(tag)
            if isinstance(words, str) and words.strip("\0 "):
                # The very bytes: cameras write UTF-8 where EXIF only knows ASCII.
                owner[tag] = words[:MAX_OWNER_CHARACTERS].encode("latin-1", "replace")
    except Exception:  # noqa: BLE001
        return 1, owner
    known = isinstance(orientation, int) and orientation in UPRIGHT
    return (orientation if known else 1), owner
