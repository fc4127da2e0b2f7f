"""Photos that tell when they were turned, mirrored, cropped or mistaken for another.

Each corner has a colour of its own, and bars across the middle spell the photo's number. Knows
Pillow and EXIF; nothing of queues or pods.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageDraw

BITS = 10
ORIENTATIONS = 8
CORNERS = {
    "top left": (220, 30, 30),
    "top right": (30, 170, 30),
    "bottom left": (30, 60, 220),
    "bottom right": (230, 210, 40),
}
TOLERANCE = 40
"""Per channel: JPEG twice and a reduction stay far below, another corner is far beyond."""

# What the sensor saw of the upright picture: the inverse of what the EXIF tag asks viewers to do.
STORED = {
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
    """A photo; width and height are those of the upright picture."""

    number: int
    width: int = 640
    height: int = 480
    orientation: int = 1

    @property
    def filename(self) -> str:
        """Its name, as a camera gives it."""
        return f"IMG_{self.number:04}.jpg"

    def jpeg(self) -> bytes:
        """Return the file as the camera writes it: turned, with the tag that says so."""
        picture = self.picture()
        if self.orientation in STORED:
            picture = picture.transpose(STORED[self.orientation])
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Workerpool"
        exif[ExifTags.Base.Orientation] = self.orientation
        return _encoded(picture, "JPEG", quality=88, exif=exif)

    def png(self) -> bytes:
        """Return it as a PNG, which takes long to decode: there is no short cut to a small one."""
        return _encoded(self.picture(), "PNG", compress_level=1)

    def picture(self) -> Image.Image:
        """Paint the upright picture."""
        picture = Image.linear_gradient("L").resize((self.width, self.height)).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for name, colour in CORNERS.items():
            draw.rectangle(_corner(name, self.width, self.height), fill=colour)
        for box, bit in zip(_bars(self.width, self.height), self._bits(), strict=True):
            draw.rectangle(box, fill=(255, 255, 255) if bit else (0, 0, 0))
        return picture

    def thumbnail_size(self, longest: int) -> tuple[int, int]:
        """Return the size of the upright thumbnail."""
        scale = min(1.0, longest / max(self.width, self.height))
        return round(self.width * scale), round(self.height * scale)

    def faults_of(self, picture: Image.Image) -> list[str]:
        """Say what a picture of this photo, whatever its size, shows wrongly."""
        seen = picture.convert("RGB")
        faults = []
        for name, colour in CORNERS.items():
            found = _centre(seen, _corner(name, *seen.size))
            if any(abs(a - b) > TOLERANCE for a, b in zip(found, colour, strict=True)):
                faults.append(f"the {name} corner is {found}, not {colour}")
        bits = [sum(_centre(seen, box)) > 3 * 128 for box in _bars(*seen.size)]
        if bits != self._bits():
            number = sum(bit << place for place, bit in enumerate(bits))
            faults.append(f"it shows the number {number}, not {self.number}")
        return faults

    def _bits(self) -> list[bool]:
        return [bool(self.number >> place & 1) for place in range(BITS)]


def album(count: int, *, first: int = 1) -> list[Photo]:
    """Return photos of several sizes, upright and lying, in all eight orientations."""
    sizes = ((640, 480), (480, 640), (800, 533), (1600, 1200), (300, 400))
    return [
        Photo(number, *sizes[number % len(sizes)], orientation=1 + number % ORIENTATIONS)
        for number in range(first, first + count)
    ]


def faults_of_thumbnail(photo: Photo, file: Path, longest: int) -> list[str]:
    """Say what is wrong with a thumbnail file; nothing, if it is as it must be."""
    try:
        with Image.open(file) as picture:
            picture.load()
            faults = photo.faults_of(picture)
            if picture.format != "JPEG":
                faults.append(f"it is a {picture.format}")
            if picture.size != photo.thumbnail_size(longest):
                faults.append(f"it has {picture.size}, not {photo.thumbnail_size(longest)}")
            if dict(picture.getexif()):
                faults.append(f"it has EXIF: {dict(picture.getexif())}")
    except OSError as error:
        faults = [str(error)]
    return [f"{file.name}: {fault}" for fault in faults]


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _corner(name: str, width: int, height: int) -> tuple[int, int, int, int]:
    across, down = width // 4, height // 4
    left = 0 if "left" in name else width - across
    top = 0 if "top" in name else height - down
    return left, top, left + across - 1, top + down - 1


def _bars(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    for place in range(BITS):
        left, right = width * place // BITS, width * (place + 1) // BITS - 1
        yield left, height * 3 // 8, right, height * 5 // 8


def _centre(picture: Image.Image, box: tuple[int, int, int, int]) -> tuple[int, int, int]:
    found = picture.getpixel(((box[0] + box[2]) // 2, (box[1] + box[3]) // 2))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]
