"""Paint landscapes that a camera could have seen: sky, clouds, sun, hills, water, grain.

Knows Pillow and arithmetic; no files, no EXIF, no queue. Runs in the producer's pod, where the
worker's image offers Pillow and nothing else. Shapes come from the given random source; only the
noise is Pillow's own.
"""

from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from demo.scenes import Colour, Ridge, Scene, Sun

MASTER_PIXELS = 4096
"""Side of a painted master: every photo is a crop of one, upright or lying."""
_ENLARGEMENT = 8 / 3
"""Shapes are drawn smaller than the master by this; enlarging them looks like a lens."""
_GRAIN = 7.0


def paint(scene: Scene, random: Random, side: int = MASTER_PIXELS) -> Image.Image:
    """Return the master of a scene: RGB, square."""
    canvas = _sky(scene, random, int(side / _ENLARGEMENT))
    for ridge in scene.ridges:
        _draw_ridge(canvas, ridge, random)
    if scene.water is not None:
        _mirror(canvas, scene.water)
    return _develop(canvas, side)


def _sky(scene: Scene, random: Random, side: int) -> Image.Image:
    stops = Image.new("RGB", (1, len(scene.sky)))
    for row, colour in enumerate(scene.sky):
        stops.putpixel((0, row), colour)
    sky = Image.new("RGB", (side, side), scene.sky[-1])
    sky.paste(stops.resize((side, int(side * 0.66)), Image.Resampling.BICUBIC))
    if scene.stars:
        _sprinkle(sky, scene.stars, random)
    _shine(sky, scene.sun)
    if scene.clouds:
        _cloud_over(sky, scene)
    return sky


def _sprinkle(sky: Image.Image, stars: int, random: Random) -> None:
    draw = ImageDraw.Draw(sky)
    for _ in range(stars):
        x, y = random.randrange(sky.width), int(random.random() ** 1.4 * sky.height * 0.6)
        shine = random.randrange(110, 255)
        size = random.choice((0,) * 9 + (1,))
        draw.rectangle((x, y, x + size, y + size), fill=(shine, shine, shine))


def _shine(sky: Image.Image, sun: Sun) -> None:
    """Add the glow of a light (falling off as in hazy air) and its disc."""
    side = sky.width
    fall = Image.radial_gradient("L").point(
        [int(255 * max(0.0, 1 - v / 180) ** 3) for v in range(256)]
    )
    reach = int(side * (0.5 + sun.glow))
    centre = (int(sun.x * side), int(sun.y * side))
    glow = Image.new("L", sky.size)
    glow.paste(
        fall.resize((reach * 2, reach * 2), Image.Resampling.BILINEAR),
        (centre[0] - reach, centre[1] - reach),
    )
    light = ImageOps.colorize(glow, (0, 0, 0), tuple(int(c * sun.glow) for c in sun.colour))
    sky.paste(ImageChops.screen(sky, light))
    disc = Image.new("L", (side // 2, side // 2))
    radius = sun.radius * side / 2
    x, y = centre[0] / 2, centre[1] / 2
    ImageDraw.Draw(disc).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    soft = disc.filter(ImageFilter.GaussianBlur(2)).resize(sky.size, Image.Resampling.BILINEAR)
    sky.paste(Image.new("RGB", sky.size, sun.colour), mask=soft)


def _fractal(size: tuple[int, int], coarsest: int, octaves: int) -> Image.Image:
    """Return grey noise with detail at several scales, as clouds and ground have it."""
    total = Image.new("L", size, 128)
    for octave in range(octaves):
        cells = coarsest * 2**octave
        cell = Image.effect_noise((cells, max(2, cells * size[1] // size[0])), 110 / (1.6**octave))
        layer = cell.resize(size, Image.Resampling.BICUBIC)
        total = ImageChops.add(total, layer, 1, -128)
    return total


def _cloud_over(sky: Image.Image, scene: Scene) -> None:
    side = sky.width
    noise = _fractal((side // 2, side // 3), 4, 6)
    threshold = 178 - int(scene.clouds * 70)
    mask = noise.point([min(215, max(0, int((v - threshold) * 1.9))) for v in range(256)])
    # Clouds far away are low and flat: fade them out towards the horizon.
    fade = Image.linear_gradient("L").point([min(255, int((255 - v) * 1.6)) for v in range(256)])
    mask = ImageChops.multiply(mask, fade.resize(mask.size)).resize(
        (side, int(side * 0.6)), Image.Resampling.BICUBIC
    )
    shade = noise.point([min(255, max(0, 330 - v)) for v in range(256)])
    dark = tuple(int(c * 0.72) for c in scene.cloud_colour)
    cloud = ImageOps.colorize(shade.resize(mask.size), dark, scene.cloud_colour)
    sky.paste(cloud, (0, 0), mask)


def _crest(ridge: Ridge, random: Random, width: int, height: int) -> list[float]:
    """Return the crest's y for every x: midpoint displacement, the classic of mountains."""
    points = [random.uniform(-1, 1) for _ in range(5)]
    reach = 0.8
    fading = 0.28 + 0.3 * ridge.roughness
    while len(points) < width:
        halves = [(a + b) / 2 + random.uniform(-reach, reach) for a, b in pairwise(points)]
        points = [p for pair in zip(points, halves, strict=False) for p in pair] + points[-1:]
        reach *= fading
    middle = (len(points) - width) // 2
    return [height * (ridge.height + ridge.swing * p) for p in points[middle : middle + width]]


def _draw_ridge(canvas: Image.Image, ridge: Ridge, random: Random) -> None:
    side = canvas.width
    crest = _crest(ridge, random, side, side)
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    draw.polygon([(0, side), *enumerate(crest), (side, side)], fill=255)
    for _ in range(ridge.pines):
        x = random.randrange(side)
        _draw_pine(draw, (x, crest[x]), side * ridge.height * random.uniform(0.02, 0.06), random)
    top = max(0, int(min(crest)) - side // 16)
    box = (0, top, side, side)
    ground = _ground((side, side - top), ridge)
    if ridge.snow:
        _snow(ground, ridge, [y - top for y in crest])
    canvas.paste(ground, box, mask.crop(box))


def _draw_pine(
    draw: ImageDraw.ImageDraw, foot: tuple[float, float], height: float, random: Random
) -> None:
    x, y = foot
    for tier in range(5):
        top = y - height * (1 - tier * 0.16)
        reach = height * (0.07 + 0.045 * tier) * random.uniform(0.8, 1.2)
        draw.polygon(
            [(x, top), (x - reach, top + height * 0.3), (x + reach, top + height * 0.3)], 255
        )
    draw.rectangle((x - 1, y - height * 0.2, x + 1, y + height * 0.1), 255)


def _ground(size: tuple[int, int], ridge: Ridge) -> Image.Image:
    """Return the ridge's surface: mottled, and hazier the further down (mist lies in valleys)."""
    contrast = 0.3 + 0.5 * ridge.roughness
    # Drawn narrow and pulled wide: ground seen at a low angle is streaked, not spotted.
    streaks = _fractal((size[0] // 4, size[1]), 8 + int(ridge.roughness * 24), 5)
    texture = streaks.resize(size).point([int(128 + (v - 128) * contrast) for v in range(256)])
    surface = ImageOps.colorize(texture, ridge.shadow, ridge.light)
    haze = Image.linear_gradient("L").point([int(v * 0.4) for v in range(256)]).resize(size)
    surface.paste(Image.new("RGB", size, ridge.light), mask=haze)
    return surface


def _snow(ground: Image.Image, ridge: Ridge, crest: list[float]) -> None:
    """Lay snow below the crest; rock breaks through more the further down it is."""
    width, height = ground.size
    depth = ridge.swing * ridge.snow * width * 1.6
    lying = Image.new("L", ground.size)
    draw = ImageDraw.Draw(lying)
    bands = 12
    for band in reversed(range(bands)):
        low = [(x, y + depth * (band + 1) / bands) for x, y in enumerate(crest)]
        draw.polygon([(0, 0), *low, (width, 0)], fill=255 - 255 * band // bands)
    rock = _fractal(ground.size, 24, 4)
    patches = ImageChops.add(lying, rock, 1, -200).point([min(255, v * 4) for v in range(256)])
    shine: Colour = tuple(min(255, int(c * 0.45 + 130)) for c in ridge.light)  # type: ignore[assignment]
    ground.paste(Image.new("RGB", (width, height), shine), mask=patches)


def _mirror(canvas: Image.Image, waterline: float) -> None:
    """Replace what lies below the waterline by the rippled mirror image of what is above."""
    side = canvas.width
    line = int(side * waterline)
    depth = side - line
    above = ImageOps.flip(canvas.crop((0, max(0, line - depth), side, line)))
    calm = above.resize((side // 2, depth // 12), Image.Resampling.BOX)
    water = calm.resize((side, depth), Image.Resampling.BICUBIC)
    ripple = Image.effect_noise((side // 24, depth // 3), 60).resize((side, depth))
    water = ImageChops.add(water, Image.merge("RGB", [ripple] * 3).point(lambda v: v // 4), 1, -40)
    dark = Image.new("RGB", water.size, (10, 22, 40))
    canvas.paste(Image.blend(water, dark, 0.16), (0, line))


def _develop(canvas: Image.Image, side: int) -> Image.Image:
    """Enlarge, darken the corners a little and add film grain."""
    corners = Image.radial_gradient("L").point([255 - max(0, v - 110) // 3 for v in range(256)])
    vignette = corners.resize(canvas.size, Image.Resampling.BILINEAR)
    canvas = ImageChops.multiply(canvas, Image.merge("RGB", [vignette] * 3))
    master = canvas.resize((side, side), Image.Resampling.BICUBIC)
    tile = Image.effect_noise((side // 4, side // 4), _GRAIN)
    grain = Image.new("L", master.size)
    for x in range(0, side, tile.width):
        for y in range(0, side, tile.height):
            grain.paste(tile, (x, y))
    return ImageChops.add(master, Image.merge("RGB", [grain] * 3), 1, -128)
