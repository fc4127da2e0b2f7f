import io
import struct
import zlib
from dataclasses import dataclass

import pytest
from PIL import Image

from image_worker import presets
from image_worker.decoding import Limits
from image_worker.errors import RejectedJob
from image_worker.imaging import render
from support.pictures import encoded, jpeg, picture

MANY = 10_000_000


@dataclass(frozen=True, slots=True)
class Thumbnail:
    data: bytes
    width: int
    height: int
    source_width: int
    source_height: int


def thumbnail(data: bytes, *, longest_side: int, max_pixels: int) -> Thumbnail:
    """Make what a job gets that names no preset."""
    rendered = render(data, [presets.thumbnail(longest_side)], Limits(pixels=max_pixels))
    (only,) = rendered.renditions
    return Thumbnail(
        only.data, only.width, only.height, rendered.source_width, rendered.source_height
    )


def made(data: bytes, longest_side: int = 64) -> tuple[Thumbnail, Image.Image]:
    small = thumbnail(data, longest_side=longest_side, max_pixels=MANY)
    image = Image.open(io.BytesIO(small.data))
    image.load()
    assert image.format == "JPEG"
    assert image.size == (small.width, small.height)
    return small, image


def is_red(colour: object) -> bool:
    assert isinstance(colour, tuple)
    red, green, blue = colour
    return bool(red > 180 and green < 80 and blue < 80)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 3000), (256, 192)),
        ((3000, 4000), (192, 256)),
        ((256, 256), (256, 256)),
        ((257, 100), (256, 100)),
        ((100, 50), (100, 50)),
        ((1, 1), (1, 1)),
        ((3000, 1), (256, 1)),
        ((1, 3000), (1, 256)),
        ((1000, 999), (256, 256)),
    ],
)
def test_the_longest_side_is_met_and_nothing_is_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    small = thumbnail(jpeg(size), longest_side=256, max_pixels=20_000_000)
    assert (small.width, small.height) == expected
    assert (small.source_width, small.source_height) == size


# Where the red quarter of the stored picture must show, once upright.
CORNERS = {
    1: "top left",
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "top left",
    6: "top right",
    7: "bottom right",
    8: "bottom left",
}


@pytest.mark.parametrize(("orientation", "corner"), CORNERS.items())
def test_every_exif_orientation_is_applied(orientation: int, corner: str) -> None:
    small, image = made(jpeg((400, 200), orientation=orientation), 100)
    assert image.size == ((100, 50) if orientation < 5 else (50, 100))
    assert (small.source_width, small.source_height) == (
        (400, 200) if orientation < 5 else (200, 400)
    )
    width, height = image.size
    places = {
        f"{row} {column}": (x, y)
        for row, y in (("top", height // 8), ("bottom", height - height // 8))
        for column, x in (("left", width // 8), ("right", width - width // 8))
    }
    seen = {place for place, point in places.items() if is_red(image.getpixel(point))}
    assert seen == {corner}


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_senseless_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    _, image = made(encoded(picture((100, 50)), exif=exif))
    assert image.size == (64, 32)


def test_broken_exif_is_no_reason_to_refuse_a_picture() -> None:
    whole = encoded(picture(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 64)
    _, image = made(whole)
    assert image.size == (64, 48)


def test_nothing_but_pixels_goes_on() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    data = encoded(
        picture((300, 200)), exif=exif, comment=b"SecretComment", icc_profile=b"SecretProfile"
    )
    assert b"Secret" in data
    small, image = made(data)
    assert b"Secret" not in small.data
    assert b"Exif" not in small.data
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    ("form", "mode", "expected_mode"),
    [
        ("JPEG", "RGB", "RGB"),
        ("JPEG", "L", "L"),
        ("JPEG", "CMYK", "RGB"),
        ("PNG", "RGB", "RGB"),
        ("PNG", "RGBA", "RGB"),
        ("PNG", "LA", "RGB"),
        ("PNG", "P", "RGB"),
        ("PNG", "1", "L"),
        ("PNG", "L", "L"),
        ("PNG", "I;16", "L"),
        ("GIF", "P", "RGB"),
        ("GIF", "L", "RGB"),
        ("WEBP", "RGB", "RGB"),
        ("WEBP", "RGBA", "RGB"),
    ],
)
def test_every_mode_becomes_rgb_or_grey_and_keeps_its_picture(
    form: str, mode: str, expected_mode: str
) -> None:
    if mode == "I;16":
        source = Image.new(mode, (200, 100), 0)
        source.paste(65535, (0, 0, 100, 50))
    elif mode in {"L", "LA", "1"}:
        source = Image.new("L", (200, 100), 0)
        source.paste(255, (0, 0, 100, 50))
        source = source.convert(mode)
    else:
        source = picture((200, 100), mode)
    _, image = made(encoded(source, form))
    assert image.size == (64, 32)
    assert image.mode in {expected_mode, "L"}
    bright, dark = image.convert("RGB").getpixel((8, 4)), image.convert("RGB").getpixel((56, 28))
    assert isinstance(bright, tuple)
    assert isinstance(dark, tuple)
    assert bright[0] > 180
    assert dark[0] < 60


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_transparent_turns_white_without_dark_fringes(form: str) -> None:
    source = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    source.paste((255, 0, 0, 255), (0, 0, 100, 100))
    _, image = made(encoded(source, form, **({"lossless": True} if form == "WEBP" else {})))
    right = image.getpixel((60, 16))
    assert isinstance(right, tuple)
    assert min(right) > 240
    row = [image.getpixel((x, 16)) for x in range(image.width)]
    assert min(pixel[0] for pixel in row if isinstance(pixel, tuple)) > 200


def test_a_palette_with_a_transparent_colour_turns_white_there() -> None:
    source = Image.new("P", (80, 80), 0)
    source.putpalette([0, 0, 0, 255, 0, 0])
    source.paste(1, (0, 0, 40, 80))
    _, image = made(encoded(source, "GIF", transparency=0))
    right = image.getpixel((60, 32))
    assert isinstance(right, tuple)
    assert min(right) > 240


def test_an_animation_gives_its_first_picture() -> None:
    frames = [Image.new("RGB", (80, 80), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    _, image = made(data)
    assert is_red(image.getpixel((32, 32)))


def test_a_picture_of_several_cameras_gives_the_first() -> None:
    frames = [picture((100, 50), colour=colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    _, image = made(data)
    assert is_red(image.getpixel((32, 16)))


def test_the_same_photo_gives_the_same_bytes() -> None:
    data = jpeg((500, 400))
    first, second = (thumbnail(data, longest_side=64, max_pixels=MANY) for _ in range(2))
    assert first == second


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_from_the_header() -> None:
    with pytest.raises(RejectedJob, match="100000x100000 pixels") as caught:
        thumbnail(bomb(100_000, 100_000), longest_side=64, max_pixels=MANY)
    assert caught.value.reason == "TooManyPixels"


def test_as_many_pixels_as_allowed_are_allowed() -> None:
    data = jpeg((40, 30))
    thumbnail(data, longest_side=64, max_pixels=1200)
    with pytest.raises(RejectedJob):
        thumbnail(data, longest_side=64, max_pixels=1199)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "NotAnImage"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "NotAnImage"),
        (b"%PDF-1.7", "NotAnImage"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "NotAnImage"),
        (encoded(picture(), "BMP"), "NotAnImage"),
        (encoded(picture(), "TIFF"), "NotAnImage"),
        (encoded(picture(), "PPM"), "NotAnImage"),
        (jpeg((300, 200))[:700], "BrokenImage"),
        (encoded(picture((300, 200)), "PNG")[:120], "BrokenImage"),
        (bomb(50, 50), "BrokenImage"),
        (bomb(0, 10), "BrokenImage"),
    ],
)
def test_what_cannot_be_decoded_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(RejectedJob) as caught:
        thumbnail(data, longest_side=64, max_pixels=MANY)
    assert caught.value.reason == reason
