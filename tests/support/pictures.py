"""Small pictures of every kind, made when needed, so that none has to be kept."""

import io

from PIL import Image

ORIENTATION = 0x0112
Colour = str | int | tuple[int, ...]


def picture(
    size: tuple[int, int] = (64, 48), mode: str = "RGB", colour: Colour | None = None
) -> Image.Image:
    """Return a picture whose top left quarter is red (or light), so that turns can be seen."""
    if colour is not None:
        return Image.new(mode, size, colour)
    base = Image.new("RGB", size, "navy")
    base.paste("red", (0, 0, size[0] // 2, size[1] // 2))
    return base if mode == "RGB" else base.convert(mode)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Encode a picture."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(size: tuple[int, int] = (64, 48), *, orientation: int = 1, quality: int = 90) -> bytes:
    """Return a JPEG, with an EXIF orientation if it is not upright."""
    if orientation == 1:
        return encoded(picture(size), quality=quality)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(picture(size), quality=quality, exif=exif)
