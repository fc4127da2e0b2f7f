from random import Random

import pytest
from PIL import Image

from image_worker import crop
from image_worker.decoding import Limits
from image_worker.imaging import render
from image_worker.presets import Form, Gravity, Preset, Scale
from support.pictures import encoded


def fill(width: int, height: int) -> Preset:
    return Preset("fill", width, height, Scale.FILL, Gravity.ENTROPY, Form.PNG)


def detail_at(place: int, size: tuple[int, int] = (600, 200)) -> Image.Image:
    """Return a plain picture with a busy square that starts so far along its longer side."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste("skyblue", (0, 0, *size))
    side = min(size)
    chance = Random(place)
    busy = Image.frombytes("L", (side, side), chance.randbytes(side * side)).convert("RGB")
    image.paste(busy, (place, 0) if size[0] > size[1] else (0, place))
    return image


@pytest.mark.parametrize("place", [0, 37, 200, 333, 400])
def test_the_part_with_the_most_to_see_stays(place: int) -> None:
    left, top, right, bottom = crop.box(detail_at(place), fill(200, 200))
    assert (top, right - left, bottom) == (0, 200, 200)
    assert left == pytest.approx(place, abs=12)
    left, top, right, bottom = crop.box(detail_at(place, (200, 600)), fill(200, 200))
    assert (left, right, bottom - top) == (0, 200, 200)
    assert top == pytest.approx(place, abs=12)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_where_there_is_nothing_to_see_the_middle_stays(mode: str) -> None:
    plain = Image.new(mode, (600, 200))
    assert crop.box(plain, fill(200, 200))[0] == pytest.approx(200, abs=6)


def test_what_cannot_be_seen_does_not_count() -> None:
    image = detail_at(0).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert crop.box(image, fill(200, 200))[0] == pytest.approx(200, abs=6)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (65, 1), (1, 300), (100, 99), (3, 2)])
@pytest.mark.parametrize("wanted", [(1, 1), (2, 2), (64, 1), (99, 99)])
def test_the_box_lies_within_the_picture_and_has_the_size_asked_for(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    left, top, right, bottom = crop.box(Image.new("RGB", size), fill(*wanted))
    assert 0 <= left <= right <= size[0]
    assert 0 <= top <= bottom <= size[1]
    assert (right - left, bottom - top) == (min(size[0], wanted[0]), min(size[1], wanted[1]))


def test_the_same_photo_is_cut_in_the_same_way() -> None:
    data = encoded(detail_at(111), "PNG")
    first, second = (
        render(data, [fill(80, 80)], Limits(pixels=10**6)).renditions[0].data for _ in range(2)
    )
    assert first == second


def test_an_animation_does_not_jump() -> None:
    frames = [detail_at(place) for place in (0, 400, 200)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    moving = Preset("m", 100, 100, Scale.FILL, Gravity.ENTROPY, Form.WEBP, frames=3)
    (made,) = render(data, [moving], Limits(pixels=10**6)).renditions
    (still,) = render(data, [fill(100, 100)], Limits(pixels=10**6)).renditions
    assert (made.width, made.height, made.frames) == (100, 100, 3)
    assert (still.width, still.height) == (100, 100)
