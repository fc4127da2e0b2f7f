"""Image files as an attacker writes them: real ones of every format, damaged at random.

Knows Pillow to make the healthy ones; the damage knows nothing of formats.
"""

import struct
from collections.abc import Callable
from random import Random

from PIL import Image, ImageCms

from support.pictures import encoded, picture

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
MAX_CUT = 64


def healthy() -> list[bytes]:
    """Return small files of every format, mode and kind of metadata that is read."""
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "somebody"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    base = picture((96, 64))
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "lime", "blue")]
    moving = {"save_all": True, "append_images": frames[1:]}
    return [
        encoded(base, exif=exif, icc_profile=profile, comment=b"words"),
        encoded(base, progressive=True),
        encoded(base.convert("L")),
        encoded(base.convert("CMYK")),
        encoded(frames[0], "MPO", **moving),
        *(encoded(base.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        encoded(base, "PNG", exif=exif, icc_profile=profile),
        encoded(base.convert("P"), "GIF"),
        encoded(frames[0], "GIF", **moving),
        encoded(base, "WEBP", exif=exif, icc_profile=profile),
        encoded(base.convert("RGBA"), "WEBP", lossless=True),
        encoded(frames[0], "WEBP", **moving),
        encoded(base, "AVIF", exif=exif, icc_profile=profile, max_threads=1),
        encoded(frames[0], "AVIF", max_threads=1, **moving),
    ]


def mutant(files: list[bytes], chance: Random) -> bytes:
    """Return one of the files, damaged one to four times."""
    data = bytearray(chance.choice(files))
    for _ in range(chance.randint(1, 4)):
        if data:
            chance.choice(_DAMAGES)(data, chance, files)
    return bytes(data)


def _flip(data: bytearray, chance: Random, _: list[bytes]) -> None:
    data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: Random, _: list[bytes]) -> None:
    """Write a number that programs trip over, in either byte order and any width."""
    value = chance.choice(INTERESTING)
    code = chance.choice((">I", "<I", ">H", "<H", "B"))
    number = struct.pack(code, value & (1 << 8 * struct.calcsize(code)) - 1)
    place = _place(data, chance)
    data[place : place + len(number)] = number


def _truncate(data: bytearray, chance: Random, _: list[bytes]) -> None:
    del data[_place(data, chance) :]


def _cut(data: bytearray, chance: Random, _: list[bytes]) -> None:
    place = _place(data, chance)
    del data[place : place + chance.randint(1, MAX_CUT)]


def _repeat(data: bytearray, chance: Random, _: list[bytes]) -> None:
    place = _place(data, chance)
    data[place:place] = data[place : place + chance.randint(1, MAX_CUT)] * chance.randint(1, 50)


def _splice(data: bytearray, chance: Random, files: list[bytes]) -> None:
    other = chance.choice(files)
    place = _place(data, chance)
    data[place:] = other[chance.randrange(len(other)) :]


def _place(data: bytearray, chance: Random) -> int:
    """Half of all damage falls into the first bytes, where the headers are."""
    return chance.randrange(min(len(data), MAX_CUT) if chance.random() < 0.5 else len(data))


_DAMAGES: tuple[Callable[[bytearray, Random, list[bytes]], None], ...] = (
    _flip,
    _overwrite,
    _truncate,
    _cut,
    _repeat,
    _splice,
)
