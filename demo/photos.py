"""Plan and take the demo's photos: sizes of real cameras, all eight orientations, EXIF.

Knows what a photo consists of; not where it is stored, nor that a queue exists. The painting is
`painting`'s. Needs Pillow only to take a photo, not to plan one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from random import Random

from PIL import ExifTags, Image, ImageDraw, ImageFont

from demo.painting import MASTER_PIXELS
from demo.scenes import SCENES

SENSORS: tuple[tuple[int, int], ...] = (
    (3008, 2000),
    (3072, 2048),
    (3264, 2448),
    (3456, 2304),
    (3840, 2160),
    (3648, 2736),
    (3872, 2592),
    (4000, 3000),
)
"""Width and height of pictures that cameras of 6 to 12 megapixels write."""
ORIENTATIONS = range(1, 9)
_JPEG_QUALITY = 85
_FIRST_SHOT = datetime(2026, 6, 21, 4, 30, tzinfo=UTC)
_APERTURES = (1.8, 2.8, 4.0, 5.6, 8.0)
_SHUTTERS = (60, 125, 250, 500, 1000)

# How the sensor saw what a viewer must turn back: the inverse of the EXIF orientation.
_AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo as a viewer should see it: width and height are those of the upright picture."""

    number: int
    scene: int
    width: int
    height: int
    left: int
    top: int
    mirrored: bool
    orientation: int
    taken: datetime
    aperture: float
    shutter: int

    @property
    def filename(self) -> str:
        """Return the name a camera would give."""
        return f"IMG_{self.number:04}.jpg"

    def thumbnail_size(self, longest: int) -> tuple[int, int]:
        """Return the size of the upright thumbnail, in pixels, to within one for rounding."""
        scale = longest / max(self.width, self.height)
        return round(self.width * scale), round(self.height * scale)


def plan(count: int, seed: int = 1) -> tuple[Photo, ...]:
    """Decide on `count` photos: neighbours share a scene, so that it is painted once."""
    random = Random(seed)  # noqa: S311 - a plan, not a secret
    photos = []
    for index in range(count):
        width, height = random.choice(SENSORS)
        if random.random() < 0.4:  # noqa: PLR2004 - about as many people hold their phone upright
            width, height = height, width
        photos.append(
            Photo(
                number=index + 1,
                scene=index * len(SCENES) // count,
                width=width,
                height=height,
                left=random.randrange(MASTER_PIXELS - width + 1),
                top=random.randrange(MASTER_PIXELS - height + 1),
                mirrored=random.random() < 0.5,  # noqa: PLR2004 - a coin
                orientation=ORIENTATIONS[index % len(ORIENTATIONS)],
                taken=_FIRST_SHOT + timedelta(minutes=3 * index, seconds=random.randrange(60)),
                aperture=random.choice(_APERTURES),
                shutter=random.choice(_SHUTTERS),
            )
        )
    return tuple(photos)


def take(photo: Photo, master: Image.Image) -> bytes:
    """Return the photo as JPEG: cropped from its scene's master, numbered, stored as shot."""
    box = (photo.left, photo.top, photo.left + photo.width, photo.top + photo.height)
    picture = master.crop(box)
    if photo.mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    _write_number(picture, photo)
    turn = _AS_STORED.get(photo.orientation)
    stored = picture if turn is None else picture.transpose(turn)
    file = BytesIO()
    stored.save(file, "JPEG", quality=_JPEG_QUALITY, exif=_exif(photo, stored.size))
    return file.getvalue()


def _write_number(picture: Image.Image, photo: Photo) -> None:
    """Write the number and the orientation at the bottom left: upright text is the proof."""
    high = max(picture.size) // 11
    margin = high // 2
    place = (margin, picture.height - margin)
    text = f"{photo.number}"
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(high)
    draw.text(place, text, font=font, anchor="ls", stroke_width=high // 16, stroke_fill=(0, 0, 0))
    end = place[0] + draw.textlength(text, font=font) + high // 3
    draw.text(
        (end, place[1]),
        f"EXIF {photo.orientation}",
        font=ImageFont.load_default(high // 2),
        fill=(255, 214, 120),
        anchor="ls",
        stroke_width=high // 28,
        stroke_fill=(0, 0, 0),
    )


def _exif(photo: Photo, stored: tuple[int, int]) -> Image.Exif:
    taken = photo.taken.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Workerpool"
    exif[ExifTags.Base.Model] = "Demo Camera"
    exif[ExifTags.Base.Orientation] = photo.orientation
    exif[ExifTags.Base.DateTime] = taken
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = taken
    shot[ExifTags.Base.FNumber] = photo.aperture
    shot[ExifTags.Base.ExposureTime] = 1 / photo.shutter
    shot[ExifTags.Base.ISOSpeedRatings] = 100
    shot[ExifTags.Base.FocalLength] = 35.0
    shot[ExifTags.Base.ExifImageWidth], shot[ExifTags.Base.ExifImageHeight] = stored
    return exif
