import io
from collections.abc import Sequence

import pytest
from PIL import ExifTags, Image, ImageCms

from image_worker import colour
from image_worker.decoding import Limits
from image_worker.errors import RejectedJob
from image_worker.imaging import Rendered, render
from image_worker.presets import Form, Gravity, Preset, Scale
from support.photos import CORNERS, TOLERANCE, Photo
from support.pictures import encoded, jpeg, picture

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
    # From the photo; from 1000; 450 again from 1000, for 500 is hardly larger; from 450.
    assert resized == [(1600, 1200), (1000, 750), (1000, 750), (450, 338)]


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
    name = "sRGB".encode("utf-16-be")
    assert name in data
    data = data.replace(name, "odd ".encode("utf-16-be"))
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
