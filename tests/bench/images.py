"""Images per second and core: this worker beside libvips and a naive use of Pillow.

Photos are painted like dead leaves (occluding shapes whose sizes follow a power law) under
1/f texture and sensor noise: the statistics of natural pictures, and no easy ones to shrink.
The three take turns on the same photos in one run, and the CPU time of the process is counted,
all threads included, so neighbours on the machine matter little. Ratios are of the median seconds
of each photo, for how one compares depends on its size: `vs_vips_*` is their geometric mean over
the photos, `vs_vips_*_worst` the least of them, and `vs_vips_by_photo` has all. libvips gets one
thread, shrink-on-load, the same sizes and the same quality.

SSIM compares pixels before they are encoded with the whole photo decoded and reduced by Lanczos.
Prints one JSON line last.
"""

import argparse
import io
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

os.environ["VIPS_CONCURRENCY"] = "1"  # libvips reads it when it is loaded

import numpy as np
import numpy.typing as npt
import PIL
import pyvips
from PIL import Image, ImageDraw, ImageFilter

from image_worker import encoding, imaging
from image_worker.decoding import Limits
from image_worker.presets import Preset
from support.similarity import ssim

SIZES = (256, 1024, 1600)
THREE = (1600, 1024, 256)
QUALITY = 85
LIMITS = Limits(pixels=200_000_000)
PHOTO_SIZES = ((4000, 3000), (4608, 3456), (3000, 4000), (6000, 4000))
LEAVES, SMALLEST_LEAF = 4_000, 12.0
TEXTURE_SIDE, TEXTURE, NOISE = 1024, 14.0, 2.0
Plane = npt.NDArray[np.float64]
Make = Callable[[bytes, Sequence[int]], list[bytes]]


def photo(number: int) -> bytes:
    """Return a JPEG as a camera would write it."""
    chance = np.random.default_rng(number)
    width, height = PHOTO_SIZES[number % len(PHOTO_SIZES)]
    leaves = np.asarray(_leaves(chance, width, height), dtype=np.float32)
    grain = _texture(chance, width, height) + chance.normal(0, NOISE, (height, width))
    pixels = np.clip(leaves + grain[:, :, None], 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90, subsampling="4:2:0")
    return out.getvalue()


def _leaves(chance: np.random.Generator, width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), (120, 130, 140))
    draw = ImageDraw.Draw(picture)
    share = chance.random(LEAVES)
    radii = 1 / np.sqrt(share / SMALLEST_LEAF**2 + (1 - share) / (width / 4) ** 2)
    base = chance.integers(40, 216, 3)
    tones = base + chance.normal(0, 45, (LEAVES, 1)) + chance.normal(0, 22, (LEAVES, 3))
    for radius, tone in zip(radii, np.clip(tones, 0, 255).astype(int).tolist(), strict=True):
        x, y = chance.random() * width, chance.random() * height
        high = radius * chance.uniform(0.4, 1)
        if chance.random() < 0.5:
            draw.ellipse((x - radius, y - high, x + radius, y + high), fill=tuple(tone))
        else:
            turn = chance.uniform(0, math.pi)
            corners = [turn + step for step in (0, 1.5, 3.1, 4.4)]
            outline = [(x + radius * math.cos(a), y + high * math.sin(a)) for a in corners]
            draw.polygon(outline, fill=tuple(tone))
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def _texture(chance: np.random.Generator, width: int, height: int) -> Plane:
    side = TEXTURE_SIDE
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    spectrum = chance.normal(size=frequency.shape) + 1j * chance.normal(size=frequency.shape)
    texture = np.fft.irfft2(spectrum / frequency)
    tiles = np.tile(texture, (height // side + 1, width // side + 1))[:height, :width]
    return np.asarray(tiles * (TEXTURE / texture.std()))


# --- the three


def worker(data: bytes, sides: Sequence[int]) -> list[bytes]:
    """Do what a child does between reading and writing."""
    presets = [Preset(str(side), side, side, quality=QUALITY) for side in sides]
    return [made.data for made in imaging.render(data, presets, LIMITS).renditions]


def vips(data: bytes, sides: Sequence[int]) -> list[bytes]:
    """Shrink on load, then smaller ones from larger ones; the image is kept in memory."""
    image = pyvips.Image.thumbnail_buffer(data, sides[0], height=sides[0], size="down")
    made = []
    for number, side in enumerate(sides):
        if number:
            image = image.thumbnail_image(side, height=side, size="down")
        if number + 1 < len(sides):
            image = image.copy_memory()
        made.append(image.jpegsave_buffer(Q=QUALITY, keep="none"))
    return made


def naive(data: bytes, sides: Sequence[int]) -> list[bytes]:
    """Decode everything, reduce by Lanczos: what the first answer on the web says."""
    made = []
    for side in sides:
        image = Image.open(io.BytesIO(data))
        small = image.resize(_fit(image.size, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "JPEG", quality=QUALITY)
        made.append(out.getvalue())
    return made


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return round(size[0] * scale), round(size[1] * scale)


def seconds(make: Make, data: bytes, sides: Sequence[int]) -> float:
    """Return the CPU seconds of one photo."""
    start = time.process_time()
    make(data, sides)
    return time.process_time() - start


def speeds(photos: Sequence[bytes], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the median CPU seconds of each photo, by work and maker, taking turns."""
    jobs = {str(side): (side,) for side in SIZES} | {"three": THREE}
    makers: dict[str, Make] = {"worker": worker, "vips": vips, "naive": naive}
    taken: dict[str, dict[str, list[list[float]]]] = {
        j: {m: [[] for _ in photos] for m in makers} for j in jobs
    }
    for number in range(rounds + 1):
        for which, data in enumerate(photos):
            for job, sides in jobs.items():
                for name, make in makers.items():
                    spent = seconds(make, data, sides)
                    if number:  # the first round warms caches up
                        taken[job][name][which].append(spent)
    return {
        job: {name: [statistics.median(one) for one in times] for name, times in by_name.items()}
        for job, by_name in taken.items()
    }


def ratios(by_name: dict[str, list[float]], rival: str) -> list[float]:
    """Return of each photo how many times faster than a rival the worker is."""
    return [theirs / ours for theirs, ours in zip(by_name[rival], by_name["worker"], strict=True)]


def size_of(number: int) -> str:
    """Name a photo's size; from the fifth photo on they come again, and the last is told of."""
    width, height = PHOTO_SIZES[number % len(PHOTO_SIZES)]
    return f"{width}x{height}"


# --- quality


def worker_pixels(data: bytes, sides: Sequence[int]) -> list[Image.Image]:
    """Return what the worker hands to its encoder, by way of PNG: the same pixels."""
    caught: list[Image.Image] = []
    encode = encoding.encoded

    def keep(picture: Image.Image, preset: Preset, owner: Image.Exif) -> bytes:
        caught.append(picture.copy())
        return encode(picture, preset, owner)

    encoding.encoded = keep
    try:
        worker(data, sides)
    finally:
        encoding.encoded = encode
    return caught


def vips_pixels(data: bytes, side: int) -> Image.Image:
    """Return what libvips hands to its encoder."""
    image = pyvips.Image.thumbnail_buffer(data, side, height=side, size="down")
    return Image.fromarray(image.numpy())


def qualities(photos: Sequence[bytes]) -> dict[str, float]:
    """Return the worst SSIM over all photos, of each size and of the job of three."""
    worst: dict[str, float] = {}

    def note(name: str, reference: Image.Image, picture: Image.Image) -> None:
        worst[name] = min(worst.get(name, 1.0), ssim(reference, picture))

    for data in photos:
        with Image.open(io.BytesIO(data)) as whole:
            references = {
                side: whole.resize(_fit(whole.size, side), Image.Resampling.LANCZOS)
                for side in SIZES
            }
        for side, reference in references.items():
            note(f"ssim_{side}", reference, worker_pixels(data, (side,))[0])
            note(f"ssim_vips_{side}", reference, vips_pixels(data, side))
        for side, picture in zip(THREE, worker_pixels(data, THREE), strict=True):
            note("ssim_three", references[side], picture)
    return {name: round(value, 4) for name, value in worst.items()}


def main() -> None:
    """Paint, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--photos", type=int, default=4)
    arguments.add_argument("--rounds", type=int, default=6)
    options = arguments.parse_args()
    photos = [photo(number) for number in range(options.photos)]
    times = speeds(photos, options.rounds)
    against_vips = {job: ratios(by_name, "vips") for job, by_name in times.items()}
    for job, by_name in times.items():
        rates = "  ".join(
            f"{name} {1 / statistics.fmean(spent):6.1f}/s" for name, spent in by_name.items()
        )
        print(f"{job:>5} px  {rates}")
        for number, ratio in enumerate(against_vips[job]):
            print(f"{'':>9}{size_of(number)}: {ratio:.2f} times libvips")
    result = {
        "benchmark": "images",
        "photos": options.photos,
        "rounds": options.rounds,
        "per_second_256": round(1 / statistics.fmean(times["256"]["worker"]), 1),
        **{
            f"vs_vips_{job}": round(statistics.geometric_mean(found), 2)
            for job, found in against_vips.items()
        },
        **{f"vs_vips_{job}_worst": round(min(found), 2) for job, found in against_vips.items()},
        "vs_vips_by_photo": {
            job: {size_of(number): round(ratio, 2) for number, ratio in enumerate(found)}
            for job, found in against_vips.items()
        },
        **{
            f"vs_naive_{job}": round(statistics.geometric_mean(ratios(by_name, "naive")), 2)
            for job, by_name in times.items()
        },
        **qualities(photos),
        "ran_on": f"{os.cpu_count()} cores, {platform.machine()}, Pillow {PIL.__version__}, "
        f"libvips {pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}, "
        f"Python {platform.python_version()}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
