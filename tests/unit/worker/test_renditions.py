import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from image_worker import colour
from image_worker.decoding import Limits
from image_worker.errors import RejectedJob
from image_worker.imaging import Rendered, render
from image_worker.presets import Form, Gravity, Preset, Scale
from support.photos import CORNERS, TOLERANCE, Photo
from support.pictures import Colour, encoded, jpeg, picture
from support.similarity import ssim

LIMITS = Limits(pixels=20_000_000)
COPYRIGHT, ARTIST = ExifTags.Base.Copyright, ExifTags.Base.Artist


def rendered(data: bytes, *presets: Preset) -> list[Image.Image]:
    return [decoded(one.data) for one in render(data, presets, LIMITS).renditions]


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def fill(width: int, height: int, gravity: str = "centre") -> Preset:
    return Preset("fill", width, height, Scale.FILL, Gravity(gravity), Form.PNG)


def near(one: object, other: Sequence[int]) -> bool:
    assert isinstance(one, tuple)
    return all(abs(a - b) <= TOLERANCE for a, b in zip(one, other, strict=False))


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((400, 300), (100, 100), (100, 100)),
        ((300, 400), (100, 50), (100, 50)),
        ((400, 300), (200, 300), (200, 300)),
        ((400, 300), (1000, 100), (400, 100)),
        ((400, 300), (1000, 1000), (400, 300)),
        ((400, 1), (100, 100), (100, 1)),
        ((1, 1), (100, 100), (1, 1)),
    ],
)
def test_a_filled_box_is_full_unless_the_photo_is_smaller(
    size: tuple[int, int], box: tuple[int, int], expected: tuple[int, int]
) -> None:
    (image,) = rendered(jpeg(size), fill(*box))
    assert image.size == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("corner", CORNERS)
def test_gravity_means_the_upright_photo(orientation: int, corner: str) -> None:
    # A quarter of the picture in each direction is one corner's colour.
    photo = Photo(5, 400, 400, orientation)
    wide, tall = (
        rendered(photo.jpeg(), fill(*box, corner.replace(" ", "-")))[0]
        for box in ((400, 60), (60, 400))
    )
    row, column = corner.split(" ")
    x = 40 if column == "left" else 360
    y = 40 if row == "top" else 360
    assert near(wide.getpixel((x, 30)), CORNERS[corner])
    assert near(tall.getpixel((30, y)), CORNERS[corner])


@pytest.mark.parametrize("form", Form)
def test_every_format_is_written_as_what_it_says(form: Form) -> None:
    (image,) = rendered(Photo(7, 320, 240).jpeg(), Preset("a", 160, 160, form=form))
    assert image.format == form.upper()
    assert image.size == (160, 120)
    assert Photo(7, 320, 240).faults_of(image) == []


@pytest.mark.parametrize("form", [Form.PNG, Form.WEBP, Form.AVIF])
def test_what_is_transparent_stays_so_where_the_format_can(form: Form) -> None:
    source = Image.new("RGBA", (80, 80), (255, 0, 0, 0))
    source.paste((255, 0, 0, 255), (0, 0, 40, 80))
    (image,) = rendered(encoded(source, "PNG"), Preset("a", 40, 40, form=form))
    left, right = image.getpixel((8, 20)), image.getpixel((32, 20))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert (left[3], right[3]) == (255, 0)


@pytest.mark.parametrize(
    ("mode", "clear", "solid"),
    [("RGB", (255, 0, 0), (0, 0, 255)), ("L", 0, 200), ("1", 0, 255)],
)
def test_the_one_colour_that_a_png_calls_transparent_is_so(
    mode: str, clear: Colour, solid: Colour
) -> None:
    source = Image.new(mode, (80, 80), clear)
    source.paste(solid, (0, 0, 40, 80))
    small, shown = rendered(
        encoded(source, "PNG", transparency=clear),
        Preset("a", 40, 40, form=Form.PNG),
        Preset("b", 40, 40),
    )
    left, right = small.getpixel((8, 20)), small.getpixel((32, 20))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert (left[3], right[3]) == (255, 0)
    paper = shown.convert("RGB").getpixel((32, 20))
    assert near(paper, (255, 255, 255))


def png_of(depth: int, channels: int, left: int, right: int) -> bytes:
    """Return a PNG of two colours, the right one of which is transparent."""
    each = depth * channels
    pixels = "".join(f"{value:0{depth}b}" * channels * 40 for value in (left, right))
    row = b"\0" + int(pixels, 2).to_bytes(80 * each // 8)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 80, 80, depth, {1: 0, 3: 2}[channels], 0, 0, 0)),
        (b"tRNS", struct.pack(">H", right) * channels),
        (b"IDAT", zlib.compress(row * 80)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("depth", "channels", "left", "clear"),
    [
        (1, 1, 0, 1),
        (2, 1, 2, 3),
        (4, 1, 8, 13),
        (8, 1, 0x80, 0x12),
        (8, 3, 0x80, 0x12),
        *((16, channels, 0x8080, key) for channels in (1, 3) for key in (0x10, 0x1234, 0xFFFF)),
    ],
)
def test_so_it_is_in_every_depth(depth: int, channels: int, left: int, clear: int) -> None:
    data = png_of(depth, channels, left, clear)
    (image,) = rendered(data, Preset("a", 40, 40, form=Form.PNG))
    grey = round(left / (2**depth - 1) * 255)
    assert near(image.getpixel((8, 20)), (grey, grey, grey, 255))
    right = image.getpixel((32, 20))
    assert isinstance(right, tuple)
    assert right[3] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_read_upright_too(orientation: int) -> None:
    photo = Photo(5, 400, 300, orientation)
    stored = decoded(photo.jpeg())
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(stored, "AVIF", exif=exif, max_threads=1)
    made = render(data, [Preset("a", 200, 200)], LIMITS)
    assert (made.source_width, made.source_height) == (400, 300)
    assert made.source_format == "AVIF"
    assert photo.faults_of(decoded(made.renditions[0].data)) == []


def test_a_progressive_jpeg_is_progressive_and_a_plain_one_is_not() -> None:
    plain, progressive = rendered(
        jpeg((300, 200)), Preset("a", 99, 99), Preset("b", 99, 99, progressive=True)
    )
    assert "progressive" not in plain.info
    assert progressive.info["progressive"]


def test_quality_and_optimizing_make_files_smaller() -> None:
    presets = [
        Preset("best", 300, 300, quality=95),
        Preset("plain", 300, 300, quality=60),
        Preset("tight", 300, 300, quality=60, optimize=True),
    ]
    sizes = [len(one.data) for one in render(Photo(3).jpeg(), presets, LIMITS).renditions]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_renditions_come_in_the_order_they_were_asked_for() -> None:
    presets = [Preset("s", 64, 64), Preset("l", 512, 512), fill(99, 99), Preset("m", 300, 300)]
    made = render(Photo(9, orientation=6).jpeg(), presets, LIMITS)
    assert [one.preset for one in made.renditions] == presets
    for one in made.renditions:
        image = decoded(one.data)
        assert image.size == (one.width, one.height)
        if one.preset.scale is Scale.FIT:
            assert Photo(9).faults_of(image) == []
    assert [max(one.width, one.height) for one in made.renditions] == [64, 512, 99, 300]


def test_a_photo_is_decoded_once_whatever_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    resized: list[tuple[int, int]] = []
    original = Image.Image.resize

    def counted(self: Image.Image, *args: object, **options: object) -> Image.Image:
        resized.append(self.size)
        return original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", counted)
    rendered(jpeg((1600, 1200)), *(Preset(str(n), n, n) for n in (128, 1000, 500, 450)))
    # From the photo; the others from 1000, and none from what was made of that.
    assert resized == [(1600, 1200), (1000, 750), (1000, 750), (1000, 750)]


def textured(width: int, height: int) -> Image.Image:
    """Return a picture with detail of every size, as natural ones have it."""
    chance = np.random.default_rng(1)
    total = np.zeros((height, width))
    for size in (2, 4, 8, 16, 32, 64, 128):
        coarse = chance.normal(0, 12, (height // size + 1, width // size + 1)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height)))
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8)).convert("RGB")


def test_a_small_rendition_is_as_good_among_many_as_alone() -> None:
    whole = textured(1000, 750)
    data = encoded(whole, quality=95)
    presets = [Preset(str(n), n, n, form=Form.PNG) for n in (512, 340, 225, 150, 100, 65)]
    for preset, among in zip(presets, rendered(data, *presets), strict=True):
        (alone,) = rendered(data, preset)
        truth = whole.resize(alone.size, Image.Resampling.LANCZOS)
        assert ssim(truth, among) >= ssim(truth, alone) - 0.005, preset.name


def test_who_made_it_and_whose_it_is_goes_on_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[COPYRIGHT], exif[ARTIST] = "© Ada 2026".encode(), "Ada"
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "SecretCamera", 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    data = encoded(picture((300, 200)), exif=exif, comment=b"SecretComment")
    for image in rendered(data, *(Preset(form, 90, 90, form=form) for form in Form)):
        kept = {tag: words.encode("latin-1") for tag, words in image.getexif().items()}
        assert kept == {COPYRIGHT: "© Ada 2026".encode(), ARTIST: b"Ada"}, image.format
        assert image.size == (60, 90)


def test_an_owner_of_a_megabyte_is_cut() -> None:
    exif = Image.Exif()
    exif[COPYRIGHT] = "x" * 60_000
    (image,) = rendered(encoded(picture(), exif=exif), Preset("a", 9, 9))
    assert image.getexif()[COPYRIGHT] == "x" * 1000


def swapped_profile() -> bytes:
    """Return a profile in which red and green have changed places."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ", 128), data.index(b"gXYZ", 128)
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_brought_to_srgb(form: str, mode: str) -> None:
    if (form, mode) == ("JPEG", "RGBA"):
        pytest.skip("there is no such JPEG")
    source = Image.new(mode, (64, 64), (220, 20, 20))
    profile = swapped_profile()
    (image,) = rendered(
        encoded(source, form, icc_profile=profile), Preset("a", 9, 9, form=Form.PNG)
    )
    assert near(image.getpixel((4, 4)), (20, 220, 20))
    assert image.mode == mode
    assert "icc_profile" not in image.info


def linear_profile() -> bytes:
    """Return a profile of sRGB's primaries, and of its name, whose values are like light."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = data.index(b"para\0\0\0\0\0\3")  # one for all three channels
    return data[:curve] + b"para\0\0\0\0\0\0\0\0\0\1\0\0" + data[curve + 16 :]


def test_a_linear_profile_is_none_of_srgb_whatever_it_is_called() -> None:
    profile = linear_profile()
    named = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description
    assert "sRGB" in (named or "")
    source = Image.new("RGB", (64, 64), (55, 55, 55))
    (image,) = rendered(encoded(source, "PNG", icc_profile=profile), Preset("a", 9, 9))
    # IEC 61966-2-1: a share of 55/255 of the light is written as 128.
    assert near(image.getpixel((4, 4)), (128, 128, 128))


def test_a_photo_in_srgb_is_not_touched() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    nameless = profile.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    assert nameless != profile
    source = picture((64, 48))
    assert colour.in_srgb(source, profile) is source
    assert colour.in_srgb(source, nameless) is source


def profile_of(spaces: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return a profile with these tags besides its name and its white."""
    words = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"mine\0" + b"\0" * 79
    white = b"XYZ \0\0\0\0" + struct.pack(">III", 63190, 65536, 54061)
    tags = {b"desc": words, b"wtpt": white, **tags}
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = bytearray(128)
    head[:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:24] = b"\2\x40\0\0mntr" + spaces
    head[36:40], head[68:80] = b"acsp", white[8:]
    return bytes(head) + table + body


def grey_profile() -> bytes:
    """Return a profile of greys whose values are proportional to light."""
    return profile_of(b"GRAYXYZ ", {b"kTRC": b"curv\0\0\0\0\0\0\0\0"})


def heavy_profile() -> bytes:
    """Return one of inks, with a table of 3.4 MB that calls each of them white."""
    each, grid = bytes(range(256)), 33
    size = bytes((4, 3, grid, 0)) + struct.pack(">9I", *(65536, 0, 0, 0) * 2, 65536)
    table = bytes((255, 128, 128)) * grid**4
    return profile_of(b"CMYKLab ", {b"A2B0": b"mft1\0\0\0\0" + size + each * 4 + table + each * 3})


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA")])
def test_greys_are_brought_to_those_of_srgb(form: str, mode: str) -> None:
    source = Image.new("L", (64, 64), 100).convert(mode)
    data = encoded(source, form, icc_profile=grey_profile())
    (image,) = rendered(data, Preset("a", 9, 9, form=Form.PNG))
    assert image.mode == {"L": "L", "LA": "RGBA"}[mode]
    # IEC 61966-2-1: a share of 100/255 of the light is written as 168.
    assert near(image.convert("RGB").getpixel((4, 4)), (168, 168, 168))


# A process of its own, as one that has worked before has memory that no limit takes from it.
TWICE = """
import resource, sys
from PIL import Image
from image_worker import colour, memory
profile, image = sys.stdin.buffer.read(), Image.new("CMYK", (8, 8), (255, 255, 255, 255))
resource.setrlimit(resource.RLIMIT_AS, (1 << 40, resource.RLIM_INFINITY))
taken = (1 << 40) - memory.room()
for megabytes in (int(sys.argv[1]), 400):
    most = taken + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        print(*colour.in_srgb(image, profile).getpixel((4, 4)))
    except MemoryError:
        print("MemoryError")
"""


def converted_twice(profile: bytes, megabytes: int) -> list[str]:
    """Tell what becomes of black ink with so much memory, and what with enough thereafter."""
    command = [sys.executable, "-c", TWICE, str(megabytes)]
    done = subprocess.run(command, input=profile, capture_output=True, check=True, timeout=60)
    return done.stdout.decode().splitlines()


def test_a_profile_that_there_was_no_memory_for_is_not_taken_for_broken() -> None:
    assert converted_twice(heavy_profile(), 8) == ["MemoryError", "255 255 255"]


def test_a_profile_that_is_broken_is_ignored_with_little_memory_too() -> None:
    assert converted_twice(heavy_profile()[:-9_000], 40) == ["0 0 0"] * 2


def test_a_profile_of_greys_takes_no_colour_away() -> None:
    source = Image.new("RGB", (64, 64), (220, 20, 20))
    (image,) = rendered(encoded(source, "PNG", icc_profile=grey_profile()), Preset("a", 9, 9))
    assert near(image.getpixel((4, 4)), (220, 20, 20))


@pytest.mark.parametrize("profile", [b"", b"nonsense", swapped_profile()[:200], b"\0" * 5_000_000])
def test_a_broken_profile_is_no_reason_to_refuse_a_picture(profile: bytes) -> None:
    source = Image.new("RGB", (64, 64), (220, 20, 20))
    (image,) = rendered(encoded(source, icc_profile=profile), Preset("a", 9, 9))
    assert near(image.getpixel((4, 4)), (220, 20, 20))


def test_a_profile_for_another_colour_space_is_ignored() -> None:
    source = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    (image,) = rendered(encoded(source, icc_profile=swapped_profile()), Preset("a", 9, 9))
    assert near(image.getpixel((4, 4)), (255, 0, 0))


COLOURS = ("red", "lime", "blue", "white", "black")


def animation(form: str, size: tuple[int, int] = (80, 40)) -> bytes:
    frames = [Image.new("RGB", size, colour) for colour in COLOURS]
    return encoded(
        frames[0], form, save_all=True, append_images=frames[1:], duration=[50, 60, 70, 80, 90]
    )


@pytest.mark.parametrize("form", ["GIF", "WEBP", "AVIF"])
@pytest.mark.parametrize(("most", "expected"), [(1, 1), (3, 3), (1000, 5)])
def test_an_animation_goes_on_up_to_its_cap(form: str, most: int, expected: int) -> None:
    preset = Preset("a", 40, 40, form=Form.WEBP, frames=most)
    still = Preset("b", 20, 20)
    made = render(animation(form), [preset, still], LIMITS).renditions
    assert [one.frames for one in made] == [expected, 1]
    moving = Image.open(io.BytesIO(made[0].data))
    assert getattr(moving, "n_frames", 1) == expected
    for number in range(expected):
        moving.seek(number)
        moving.load()
        assert moving.size == (40, 20)
        wanted = Image.new("RGB", (1, 1), COLOURS[number]).getpixel((0, 0))
        assert isinstance(wanted, tuple)
        assert near(moving.convert("RGB").getpixel((20, 10)), wanted)
        if expected > 1:
            assert moving.info["duration"] == (50, 60, 70, 80, 90)[number]
    assert near(decoded(made[1].data).getpixel((10, 5)), (255, 0, 0))


@pytest.mark.parametrize(
    ("form", "options", "plays"),
    [
        ("GIF", {}, 1),
        ("GIF", {"loop": 0}, 0),
        ("GIF", {"loop": 2}, 3),  # shown, and repeated twice
        ("WEBP", {"loop": 0}, 0),
        ("WEBP", {"loop": 3}, 3),
    ],
)
def test_an_animation_is_shown_as_often_as_it_was(
    form: str, options: dict[str, int], plays: int
) -> None:
    frames = [Image.new("RGB", (80, 40), colour) for colour in COLOURS]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    (image,) = rendered(data, Preset("a", 40, 40, form=Form.WEBP, frames=9))
    assert image.info["loop"] == plays


def test_a_still_stays_one_where_an_animation_may_be() -> None:
    preset = Preset("a", 40, 40, form=Form.WEBP, frames=9)
    made: Rendered = render(jpeg((80, 40)), [preset], LIMITS)
    assert made.renditions[0].frames == 1


def test_all_pictures_of_an_animation_count_that_would_be_decoded() -> None:
    data = animation("GIF", (100, 100))
    for frames, pixels in ((1, 10_000), (3, 30_000), (1000, 50_000)):
        preset = Preset("a", 40, 40, form=Form.WEBP, frames=frames)
        render(data, [preset], Limits(pixels=pixels))
        with pytest.raises(RejectedJob, match="100x100 pixels") as caught:
            render(data, [preset], Limits(pixels=pixels - 1))
        assert caught.value.reason == "TooManyPixels"


def test_an_animation_that_ends_too_soon_is_broken() -> None:
    data = animation("WEBP", (300, 300))
    preset = Preset("a", 40, 40, form=Form.WEBP, frames=9)
    with pytest.raises(RejectedJob) as caught:
        render(data[: len(data) * 2 // 3], [preset], LIMITS)
    assert caught.value.reason in {"BrokenImage", "NotAnImage"}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_look_is_described_on_request(mode: str) -> None:
    data = encoded(Image.new("RGB", (90, 60), (200, 200, 200)).convert(mode), "PNG")
    assert render(data, [Preset("a", 9, 9)], LIMITS).look is None
    look = render(data, [Preset("a", 9, 9)], LIMITS, describe=True).look
    assert look is not None
    assert look.dominant == "#c8c8c8"


def test_the_dominant_colour_is_that_of_most_pixels() -> None:
    image = Image.new("RGB", (60, 60), (10, 80, 160))
    image.paste((250, 250, 0), (0, 0, 20, 20))
    assert colour.dominant(image) == "#0a50a0"


def test_a_blurhash_tells_mean_and_direction() -> None:
    # Written by hand from the published algorithm: "L", no waves, the mean, every factor 0.
    flat = colour.blurhash(Image.new("RGB", (32, 32), (0, 0, 255)))
    assert flat[0] == "L"
    digits = colour.BLURHASH_DIGITS
    mean = 0
    for digit in flat[2:6]:
        mean = mean * 83 + digits.index(digit)
    assert mean == 0x0000FF
    left = Image.new("RGB", (32, 32), "black")
    left.paste("white", (0, 0, 16, 32))
    right = left.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first = [
        digits.index(h[6]) * 83 + digits.index(h[7]) for h in map(colour.blurhash, (left, right))
    ]
    assert first[0] > 19**3 // 2 > first[1]
    assert len(colour.blurhash(left)) == 28
