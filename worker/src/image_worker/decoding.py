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
    ImageMath,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from image_worker import headers
from image_worker.errors import RejectedJob
from image_worker.headers import Size

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
PNG_DEPTHS = {"L;2": 85, "L;4": 17, "RGB;16B": DEPTH_16_TO_8}
"""What values are multiplied by when pixels of a kind become 8 bits, which Pillow does unasked."""
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
MAX_SCANS = 100
"""Of a JPEG, which need not be progressive to have many; encoders write about ten."""
MAX_AVIF_SIDE = 32_768  # what its decoder takes

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # threads would run on cores that are not ours
# Scanners' profiles and image editors' notes may be larger than Pillow's 1 MB; bombs are anyhow.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20
Room = Callable[[], int | None]
"""Says how many bytes of memory may still be taken; None is no limit."""
TO_DECODE_PER_PIXEL = 8
"""Decoders that are refused memory call the picture broken: with less, nobody can tell."""

# Pillow's own limit warns first and raises at twice the figure; ours is checked here, once, but
# for what is only found on the way through a GIF.
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
    form, size, room = headers.format_of(data), headers.size_of(data), limits.room()
    if form is None:
        raise RejectedJob(
            "NotAnImage", f"the file is none of {', '.join(FORMATS)} ({len(data)} bytes)"
        )
    try:
        if size is not None:
            _refuse_bombs(*size, limits, 1)
            _refuse_long_sides(form, size)
        _have_frames_refused(form, limits, 1)
        with (
            warnings.catch_warnings(action="ignore"),  # about metadata that we throw away
            Image.open(io.BytesIO(data), formats=(form,)) as image,
        ):
            size = image.size
            count = min(frames, frames_in(image)) if frames > 1 else 1
            _refuse_bombs(*size, limits, count)
            _have_frames_refused(form, limits, count)
            if form == "JPEG":
                _refuse_scans(data)
            _bring_to_8_bits(image)
            image.decodermaxblock = READ_BYTES  # the bytes are in memory: fewer, larger bites
            yield Source(image, *_exif(image))
    except (RejectedJob, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RejectedJob(
            "TooManyPixels",
            f"a picture within the {form} is too large; {limits.pixels} pixels are the most",
        ) from error
    except Exception as error:
        # Decoders raise what they like on hostile bytes: OSError, SyntaxError, ValueError,
        # struct.error, IndexError.  The bytes are in memory, so all of them mean the same,
        # or that they got no memory.
        # Of an animation the pictures that are made already take memory, too.
        rooms = [left for left in (room, limits.room()) if left is not None]
        if size and rooms and min(rooms) < TO_DECODE_PER_PIXEL * size[0] * size[1]:
            raise MemoryError(str(error)) from error
        what = f"it begins as {form}, and no picture follows" if _unnamed(error) else str(error)
        raise RejectedJob("BrokenImage", f"the image cannot be decoded: {what}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = None


def drawable(image: Image.Image) -> Image.Image:
    """Decode, and bring every mode to one that can be resized truly: L, RGB, RGBA or CMYK."""
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode != "RGBA" and image.has_transparency_data:
        return image.convert("RGBA")
    match image.mode:
        case "L" | "RGB" | "RGBA" | "CMYK":
            image.load()
            return image
        case "1":
            return image.convert("L")
        case _:
            return image.convert("RGB")


def plays(image: ImageFile.ImageFile) -> int:
    """Say how often an animation is shown, as a WebP counts: 0 is for ever."""
    loop = image.info.get("loop")
    if image.format != "GIF":
        return loop or 0
    # A GIF says how often it is repeated, or nothing if it is shown once.
    return 1 if loop is None else loop and loop + 1


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


def _have_frames_refused(form: str, limits: Limits, count: int) -> None:
    """Set Pillow's limit for a GIF: any of its pictures may be larger than the canvas.

    Pillow makes the canvas as large, or notes as much to clear, as soon as it reads of it.
    """
    Image.MAX_IMAGE_PIXELS = limits.pixels // count // 2 + 1 if form == "GIF" else None


def _refuse_scans(data: bytes) -> None:
    if headers.has_more_scans(data, MAX_SCANS):
        raise RejectedJob(
            "BrokenImage", f"the JPEG has more than {MAX_SCANS} scans, which no photo needs"
        )


def _refuse_long_sides(form: str, size: Size) -> None:
    if form == "AVIF" and max(size) > MAX_AVIF_SIDE:
        raise RejectedJob(
            "TooManyPixels",
            f"the image has {size[0]}x{size[1]} pixels; an AVIF may have {MAX_AVIF_SIDE} a side",
        )


def _unnamed(error: Exception) -> bool:
    return isinstance(error, UnidentifiedImageError)  # its words name an address in memory


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Bring greys of 16 bits to 8: Pillow's own conversion cuts off what is brighter than 255."""
    key = image.info.pop("transparency", None)
    deep = image.convert("I")
    grey = deep.point(lambda value: value * DEPTH_16_TO_8).convert("L")
    if key is None:
        return grey
    seen = ImageMath.lambda_eval(lambda held: (held["deep"] != key) * 255, deep=deep)
    return Image.merge("RGBA", (grey, grey, grey, seen.convert("L")))


def _bring_to_8_bits(image: ImageFile.ImageFile) -> None:
    """Bring the one colour that a PNG may call transparent to the bits its pixels come in."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not image.tile:
        return
    factor = PNG_DEPTHS.get(str(image.tile[0].args))
    if factor is not None:
        key = tuple(int(value * factor) for value in (key if isinstance(key, tuple) else (key,)))
        image.info["transparency"] = key if len(key) > 1 else key[0]


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
