"""One photo → its renditions: bytes → bytes, from one decode.

Pure.  It knows in what order sizes are made, and from what; how files are opened is decoding's
affair, how they are written encoding's.  It must not know files, jobs' payloads or Redis.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageSequence

from image_worker import colour, crop, encoding
from image_worker.decoding import Limits, Room, Source, drawable, frames_in, opened, plays
from image_worker.presets import Preset, Scale

# Against decoding all and Lanczos both have an SSIM of about 0.98, at some sizes 0.979: bicubic at
# any ratio, in two thirds of Lanczos's time; Hamming, in half of bicubic's, from this ratio on
# (docs/images.md).
FILTER, FAST_FILTER = Image.Resampling.BICUBIC, Image.Resampling.HAMMING
FAST_FROM = 1.4
REDUCING_GAP = 2.0
ENOUGH_TO_SHRINK_AGAIN = 1.5
"""A rendition is made from one of so many times its side that was made from the photo, or from
the photo itself."""
DEFAULT_FRAME_MILLISECONDS = 100
LOOK_SIDE = 64
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoded picture."""

    preset: Preset
    data: bytes
    width: int
    height: int
    frames: int
    milliseconds: float
    """To resize and encode it; decoding is shared."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a photo, and the size it had as it was meant to be seen."""

    renditions: tuple[Rendition, ...]
    """In the order of the presets."""
    source_width: int
    source_height: int
    source_format: str
    look: colour.Look | None


def render(
    data: bytes, presets: Sequence[Preset], limits: Limits, *, describe: bool = False
) -> Rendered:
    """Make all renditions of a photo, the largest first; `describe` adds its colours.

    Raises RejectedJob for whatever is not a photo we can and may decode.
    """
    frames = max(preset.frames for preset in presets)
    with opened(data, limits, frames=frames) as source:
        full = source.turned(source.image.size)
        moving = frames > 1 and frames_in(source.image) > 1
        form = source.image.format or ""
        photo = _Photo(source, max(_whole(full, preset) for preset in presets))
        made = {}
        # The first picture is that of the stills, so they come before others are sought.
        for preset in sorted(presets, key=lambda p: _whole(full, p), reverse=True):
            if not (moving and preset.frames > 1):
                made[preset.name] = _still(photo, full, preset, limits.room)
        look = colour.look(photo.whole(_fit(full, (LOOK_SIDE, LOOK_SIDE)))) if describe else None
        for preset in presets:
            if preset.name not in made:
                made[preset.name] = _animation(source, full, preset)
    return Rendered(tuple(made[preset.name] for preset in presets), *full, form, look)


class _Photo:
    """The whole photo, decoded once, in every size that was asked for so far."""

    def __init__(self, source: Source, largest: Size) -> None:
        self._source = source
        self.owner = source.owner
        self._profile = source.image.info.get("icc_profile")
        # A JPEG decoder can skip most of the work when it knows how few pixels are wanted.
        source.image.draft(None, source.turned(largest))
        self._decoded = drawable(source.image)
        self._made: dict[Size, Image.Image] = {}
        self._direct: list[Image.Image] = []
        """Made from what was decoded; nothing is made from others, or losses would add up."""

    def whole(self, size: Size) -> Image.Image:
        """Return it upright, in sRGB and of this size."""
        if size in self._made:
            return self._made[size]
        for image in reversed(self._direct):
            if min(image.width / size[0], image.height / size[1]) >= ENOUGH_TO_SHRINK_AGAIN:
                made = _resized(image, size)
                break
        else:
            # Colours are converted, and the picture turned, when it is small already.
            small = _resized(self._decoded, self._source.turned(size))
            made = self._source.upright(colour.in_srgb(small, self._profile))
            self._direct.append(made)
        self._made[size] = made
        return made


def _still(photo: _Photo, full: Size, preset: Preset, room: Room) -> Rendition:
    started = time.perf_counter()
    whole = photo.whole(_whole(full, preset))
    picture = crop.cut(whole, crop.box(whole, preset))
    need, left = encoding.memory_needed(picture, preset), room()
    if left is not None and left < need:
        raise MemoryError(f"to encode it takes {need} bytes; {left} are left")
    data = encoding.encoded(picture, preset, photo.owner)
    return Rendition(preset, data, *picture.size, 1, _since(started))


def _animation(source: Source, full: Size, preset: Preset) -> Rendition:
    """Resize one picture after the other, as many as the preset allows."""
    started = time.perf_counter()
    size = source.turned(_whole(full, preset))
    profile, times = source.image.info.get("icc_profile"), plays(source.image)
    pictures, durations, stays = [], [], None
    for frame in itertools.islice(ImageSequence.Iterator(source.image), preset.frames):
        small = _resized(drawable(frame.copy()), size)
        upright = source.upright(colour.in_srgb(small, profile))
        stays = stays or crop.box(upright, preset)  # the same of all: what is shown must not jump
        pictures.append(crop.cut(upright, stays))
        durations.append(int(frame.info.get("duration") or DEFAULT_FRAME_MILLISECONDS))
    data = encoding.animated(pictures, durations, preset, source.owner, plays=times)
    return Rendition(preset, data, *pictures[0].size, len(pictures), _since(started))


def _whole(full: Size, preset: Preset) -> Size:
    """Return the size of the whole photo before anything is cut off."""
    box = (preset.width, preset.height)
    return _fit(full, box) if preset.scale is Scale.FIT else _cover(full, box)


def _fit(full: Size, box: Size) -> Size:
    scale = min(1.0, box[0] / full[0], box[1] / full[1])
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def _cover(full: Size, box: Size) -> Size:
    scale = min(1.0, max(box[0] / full[0], box[1] / full[1]))
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def _resized(image: Image.Image, size: Size) -> Image.Image:
    if image.size == size:
        return image
    ratio = min(image.width / size[0], image.height / size[1])
    chosen = FAST_FILTER if ratio >= FAST_FROM else FILTER
    return image.resize(size, chosen, reducing_gap=REDUCING_GAP)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
