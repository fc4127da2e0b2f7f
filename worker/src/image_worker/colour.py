"""Colours: from whatever profile a photo carries to sRGB, and what it looks like in a few words.

Pure.  It knows ICC profiles, dominant colours and blurhashes (Wolt's algorithm, as published with
its reference implementation); it must not know files, formats or jobs.
"""

import io
import itertools
import math
import operator
import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
MAX_PROFILE_BYTES = 4 << 20
TO_READ_PROFILE = 8 * MAX_PROFILE_BYTES
"""The library takes 20 MB for the largest: it keeps tables of bytes in words, and makes one."""
# The mode of pictures that profiles of a colour space are for.
MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
# Whether a profile is sRGB is told by what it does to these, not by its name: there are linear
# ones with sRGB in theirs, and others that are it under a name of their own.
STEPS = range(0, 256, 51)
SAMPLES = bytes(grey for grey in range(256) for _ in "RGB") + bytes(
    value for colour in itertools.product(STEPS, STEPS, STEPS) for value in colour
)
UNSEEN = 2
"""Nobody sees a difference of so much, and profiles of sRGB from various makers have it."""

BLURHASH_DIGITS = (
    string.digits + string.ascii_uppercase + string.ascii_lowercase + "#$%*+,-.:;=?@[]^_{|}~"
)
ACROSS, DOWN = 4, 3
SAMPLE_SIDE = 32
DOMINANT_OF = 8


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an L, RGB or RGBA picture in sRGB; a broken profile counts as none.

    Raises MemoryError where there is too little to tell whether it is broken.
    """
    way = _to_srgb(profile) if profile and len(profile) <= MAX_PROFILE_BYTES else None
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    painted = image.convert("RGB") if alpha else image
    if way is None or not _is_for(way, painted):
        return image.convert("RGB") if image.mode == "CMYK" else image
    made = way.apply(painted.convert(way.input_mode))
    if alpha:
        made.putalpha(alpha)
    return made.convert("L") if image.mode == "L" else made


def _is_for(way: ImageCms.ImageCmsTransform, image: Image.Image) -> bool:
    """Say whether a profile is meant for such pictures: for greys in three channels, too."""
    if image.mode == "RGB" and way.input_mode == "L":
        red, green, blue = (channel.tobytes() for channel in image.split())
        return red == green == blue
    return image.mode == way.input_mode


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Build the way to sRGB, or None where there is nothing to do or nothing can be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES.get(source.profile.xcolor_space)
        if mode is None:
            return None
        # To RGB from greys, too: sRGB has no greys of its own to go to.
        way = ImageCms.ImageCmsTransform(source, SRGB, mode, "RGB")
        return None if mode != "CMYK" and _changes_nothing(way) else way
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        # The library has the same words for broken bytes and for too little memory. Where there is
        # enough it is the bytes, and only what is true of them may be remembered.
        bytes(TO_READ_PROFILE)
        return None


def _changes_nothing(way: ImageCms.ImageCmsTransform) -> bool:
    samples = Image.frombytes("RGB", (len(SAMPLES) // 3, 1), SAMPLES).convert(way.input_mode)
    made = way.apply(samples)
    change = ImageChops.difference(samples.convert("RGB"), made)
    return max(change.tobytes()) <= UNSEEN


def opaque(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on white paper."""
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper


@dataclass(frozen=True, slots=True)
class Look:
    """What can be shown before the picture has come."""

    dominant: str
    blurhash: str


def look(image: Image.Image) -> Look:
    """Describe a small picture."""
    return Look(dominant(image), blurhash(image))


def dominant(image: Image.Image) -> str:
    """Return the colour that most of the picture is near to, as #rrggbb."""
    sample = _sample(image).quantize(DOMINANT_OF)
    _, index = max(sample.getcolors() or [(0, 0)])
    assert isinstance(index, int)  # noqa: S101 (a palette's entries are numbered)
    red, green, blue = (sample.getpalette() or [])[index * 3 : index * 3 + 3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def blurhash(image: Image.Image) -> str:
    """Return the 4 by 3 blurhash of a picture: 28 characters that a browser can paint."""
    sample = _sample(image)
    pixels = [[_linear(v) for v in sample.tobytes()[c::3]] for c in range(3)]
    waves = [_wave(x, sample.width, y, sample.height) for y in range(DOWN) for x in range(ACROSS)]
    factors = [
        tuple(
            (2 if number else 1) * sum(map(operator.mul, wave, channel)) / len(channel)
            for channel in pixels
        )
        for number, wave in enumerate(waves)
    ]
    mean, rest = factors[0], factors[1:]
    loudest = max(abs(value) for factor in rest for value in factor)
    scale = max(0, min(82, math.floor(loudest * 166 - 0.5)))
    most = (scale + 1) / 166
    red, green, blue = (_encoded(value) for value in mean)
    return "".join(
        (
            _digits(ACROSS - 1 + (DOWN - 1) * 9, 1),
            _digits(scale, 1),
            _digits((red << 16) + (green << 8) + blue, 4),
            *(_digits(_quantised(factor, most), 2) for factor in rest),
        )
    )


def _sample(image: Image.Image) -> Image.Image:
    small = opaque(image).convert("RGB")
    small.thumbnail((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.BOX)
    return small


def _wave(x: int, width: int, y: int, height: int) -> list[float]:
    across = [math.cos(math.pi * x * column / width) for column in range(width)]
    down = [math.cos(math.pi * y * row / height) for row in range(height)]
    return [a * d for d in down for a in across]


def _quantised(factor: Iterable[float], most: float) -> int:
    total = 0
    for value in factor:
        root = math.copysign(math.sqrt(abs(value / most)), value)
        total = total * 19 + max(0, min(18, math.floor(root * 9 + 9.5)))
    return total


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 (IEC 61966-2-1)


def _encoded(value: float) -> int:
    share = max(0.0, min(1.0, value))
    curved = share * 12.92 if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055  # noqa: PLR2004
    return int(curved * 255 + 0.5)


def _digits(value: int, count: int) -> str:
    return "".join(BLURHASH_DIGITS[value // 83**place % 83] for place in reversed(range(count)))
