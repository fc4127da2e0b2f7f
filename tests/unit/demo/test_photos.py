from dataclasses import replace
from io import BytesIO
from random import Random

import pytest
from PIL import ExifTags, Image, ImageOps, ImageStat

from demo.painting import MASTER_PIXELS, paint
from demo.photos import ORIENTATIONS, SENSORS, Photo, plan, take
from demo.scenes import SCENES, Scene

PLAN = plan(300)


@pytest.fixture(scope="module")
def master() -> Image.Image:
    return paint(SCENES[0], Random(0), side=800)


def small(photo: Photo) -> Photo:
    """The same photo in a size that is quick to take."""
    return replace(photo, width=photo.width // 6, height=photo.height // 6, left=70, top=50)


def upright(jpeg: bytes) -> Image.Image:
    with Image.open(BytesIO(jpeg)) as stored:
        return ImageOps.exif_transpose(stored)


def test_a_plan_is_the_same_every_time() -> None:
    assert plan(300) == PLAN


def test_every_photo_has_its_own_name() -> None:
    assert len({photo.filename for photo in PLAN}) == 300


def test_all_eight_orientations_are_among_the_photos_lying_and_upright() -> None:
    shapes = {(photo.orientation, photo.width > photo.height) for photo in PLAN}
    assert shapes == {(turn, lying) for turn in ORIENTATIONS for lying in (True, False)}


def test_photos_have_six_to_twelve_megapixels() -> None:
    megapixels = [photo.width * photo.height / 1e6 for photo in PLAN]
    assert min(megapixels) >= 6
    assert max(megapixels) <= 12
    assert len({(photo.width, photo.height) for photo in PLAN}) == 2 * len(SENSORS)


def test_every_crop_lies_within_its_master() -> None:
    for photo in PLAN:
        assert 0 <= photo.left <= MASTER_PIXELS - photo.width
        assert 0 <= photo.top <= MASTER_PIXELS - photo.height


def test_neighbours_share_a_scene_so_that_each_is_painted_once() -> None:
    scenes = [photo.scene for photo in PLAN]
    assert scenes == sorted(scenes)
    assert set(scenes) == set(range(len(SCENES)))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_scene_has_depth_in_every_channel(scene: Scene) -> None:
    picture = paint(scene, Random(1), side=512)
    assert picture.size == (512, 512)
    assert min(ImageStat.Stat(picture.reduce(4)).stddev) > 8


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_viewer_sees_every_orientation_upright(orientation: int, master: Image.Image) -> None:
    photo = small(next(p for p in PLAN if p.orientation == orientation and p.width > p.height))
    seen = upright(take(photo, master)).convert("RGB")
    crop = master.crop((photo.left, photo.top, photo.left + photo.width, photo.top + photo.height))
    shown = ImageOps.mirror(crop) if photo.mirrored else crop
    assert seen.size == shown.size == (photo.width, photo.height)
    # The number hides the bottom left: compare the other three quarters.
    half = (photo.width // 2, photo.height // 2)
    for box in ((0, 0, *half), (half[0], 0, photo.width, half[1]), (*half, *shown.size)):
        pixels = zip(_coarse(seen, box), _coarse(shown, box), strict=True)
        assert max(abs(a - b) for a, b in pixels) < 12


def _coarse(picture: Image.Image, box: tuple[int, int, int, int]) -> bytes:
    return picture.crop(box).resize((8, 8), Image.Resampling.BOX).tobytes()


def test_the_number_is_written_at_the_bottom_left(master: Image.Image) -> None:
    photo = small(next(p for p in PLAN if p.orientation == 8))
    seen = upright(take(photo, master)).convert("L")
    corner = seen.crop((0, seen.height * 3 // 4, seen.width // 3, seen.height))
    assert corner.getextrema() == (0, 255)


def test_a_photo_carries_what_a_camera_writes(master: Image.Image) -> None:
    photo = small(PLAN[5])
    with Image.open(BytesIO(take(photo, master))) as stored:
        assert stored.format == "JPEG"
        exif = stored.getexif()
        shot = exif.get_ifd(ExifTags.IFD.Exif)
    assert exif[ExifTags.Base.Orientation] == 6
    assert exif[ExifTags.Base.Model] == "Demo Camera"
    assert shot[ExifTags.Base.DateTimeOriginal].startswith("2026:06:21 ")
    assert shot[ExifTags.Base.FNumber] == photo.aperture


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(4000, 3000, (256, 192)), (3000, 4000, (192, 256)), (3840, 2160, (256, 144))],
)
def test_a_thumbnail_keeps_the_upright_shape(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    photo = replace(PLAN[0], width=width, height=height)
    assert photo.thumbnail_size(256) == expected
