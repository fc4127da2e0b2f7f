"""What strangers upload: it is rendered or rejected, and nothing else happens."""

import io
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_worker.decoding import Limits
from image_worker.errors import RejectedJob
from image_worker.headers import has_more_scans
from image_worker.imaging import render
from image_worker.presets import Form, Preset, Scale
from support.mutants import healthy, mutant
from support.pictures import encoded, jpeg, picture

LIMITS = Limits(pixels=1_000_000)
PRESETS = (
    Preset("still", 32, 32),
    Preset("filled", 20, 30, Scale.FILL, form=Form.PNG),
    Preset("moving", 24, 24, form=Form.WEBP, frames=4),
)
HEALTHY = healthy()


def outcome(data: bytes) -> str:
    """Return "Rendered", or why not; whatever else is raised fails the test."""
    try:
        made = render(data, PRESETS, LIMITS, describe=True)
    except RejectedJob as error:
        return error.reason
    for one in made.renditions:
        with Image.open(io.BytesIO(one.data)) as image:
            image.load()
            assert image.size == (one.width, one.height)
            assert one.width <= one.preset.width
            assert one.height <= one.preset.height
    return "Rendered"


@pytest.mark.parametrize("number", range(len(HEALTHY)))
def test_the_healthy_files_are_rendered(number: int) -> None:
    assert outcome(HEALTHY[number]) == "Rendered"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_files_are_rendered_or_rejected(seed: int) -> None:
    assert outcome(mutant(HEALTHY, Random(seed))) in {
        "Rendered",
        "NotAnImage",
        "BrokenImage",
        "TooManyPixels",
    }


@given(st.binary(max_size=300))
def test_noise_is_rejected(data: bytes) -> None:
    assert outcome(data) in {"NotAnImage", "BrokenImage"}


@pytest.mark.parametrize("data", HEALTHY, ids=range(len(HEALTHY)))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_every_format_may_be_cut_off_anywhere(data: bytes, share: float) -> None:
    outcome(data[: int(len(data) * share)])


def with_exif(body: bytes) -> bytes:
    """Return a good JPEG whose EXIF is what is given, however wrong."""
    plain = jpeg((64, 48))
    segment = b"Exif\0\0" + body
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + packed
        + struct.pack("<I", following)
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"II*\0",
        directory((0x8298, 2, 0xFFFFFFFF, 8)),
        directory((0x0112, 3, 0x7FFFFFFF, 8), (0x013B, 2, 0x40000000, 0xFFFFFFF0)),
        directory((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), following=8),
        directory(*((0x8298, 2, 60_000, 8) for _ in range(4_000))),
        directory((0x0112, 5, 1, 8), (0x8298, 12, 1, 8), (0x013B, 255, 1, 8)),
    ],
    ids=["empty", "no directory", "4 GB", "huge counts", "circles", "4000 tags", "wrong types"],
)
def test_no_exif_can_hinder_a_good_picture(body: bytes) -> None:
    assert outcome(with_exif(body)) == "Rendered"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_what_a_file_is_called_does_not_matter_and_its_bytes_do(form: str) -> None:
    made = render(encoded(picture(), form), PRESETS, LIMITS)
    assert made.source_format == form


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_gif_without_pixels_is_rejected(size: tuple[int, int]) -> None:
    assert outcome(b"GIF89a" + struct.pack("<HH", *size) + b"\0\0\0;") != "Rendered"


def test_a_gif_that_claims_the_most_pixels_is_refused_from_its_header() -> None:
    body = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0\0\0\0\xff\xff\xff"
    body += b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0;"
    assert outcome(body) == "TooManyPixels"


def test_a_png_whose_words_unpack_to_gigabytes_is_rejected() -> None:
    words = PngInfo()
    words.add_text("a", "x" * 30_000_000, zip=True)
    data = encoded(picture(), "PNG", pnginfo=words)
    assert len(data) < 100_000
    assert outcome(data) == "BrokenImage"


CANVAS = (48, 32)


def gif_of(*frames: tuple[tuple[int, int], tuple[int, int]], clearing: bool = False) -> bytes:
    """Return a GIF whose pictures have a size, and claim one; the canvas is that of the first."""
    body = b""
    for size, claimed in frames:
        one = encoded(Image.new("L", size, 90), "GIF")
        at = one.index(b"\x2c" + struct.pack("<HHHH", 0, 0, *size))
        body = body or one[:at]
        body += b"\x21\xf9\x04" + bytes([0x08 if clearing else 0]) + b"\0\0\0\0"
        body += b"\x2c" + struct.pack("<HHHH", 0, 0, *claimed) + one[at + 9 : -1]
    return body + b";"


@pytest.mark.parametrize("clearing", [False, True])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_no_picture_of_a_gif_takes_memory_beyond_the_limit(at: int, *, clearing: bool) -> None:
    """Of a few bytes, and 4 GB where they are believed."""
    frames = [(CANVAS, CANVAS)] * 4
    frames[at] = (CANVAS, (65_535, 65_535))
    with taking_at_most(256 << 20):
        assert outcome(gif_of(*frames, clearing=clearing)) == "TooManyPixels"


def test_the_pictures_of_a_gif_are_limited_together() -> None:
    still = [(CANVAS, CANVAS)] * 3
    assert outcome(gif_of(*still, ((500, 400), (500, 400)))) == "Rendered"
    assert outcome(gif_of(*still, ((600, 500), (600, 500)))) == "TooManyPixels"


@contextmanager
def taking_at_most(more: int) -> Iterator[None]:
    """Let the process take so many bytes of memory and no more, for as long as it lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def webp_of(width: int, height: int, kind: bytes) -> bytes:
    """Return the first bytes of a WebP that claims a size."""
    match kind:
        case b"VP8X":
            sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
            body = b"\0" * 4 + sides
        case b"VP8L":
            body = b"\x2f" + (width - 1 | (height - 1) << 14).to_bytes(4, "little") + b"\0" * 5
        case _:
            body = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_a_webp_is_measured_before_its_canvas_is_made(kind: bytes) -> None:
    assert outcome(webp_of(1_000, 1_001, kind)) == "TooManyPixels"
    assert outcome(webp_of(1_000, 1_000, kind)) in {"NotAnImage", "BrokenImage"}


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}])
def test_a_webps_size_is_read_as_its_decoder_reads_it(options: dict[str, object]) -> None:
    data = encoded(picture((320, 200)), "WEBP", **options)
    still = PRESETS[:1]
    assert render(data, still, Limits(pixels=64_000)).source_width == 320
    with pytest.raises(RejectedJob, match="320x200"):
        render(data, still, Limits(pixels=63_999))


def avif_of(width: int, height: int) -> bytes:
    """Return an AVIF of 64x48 pixels whose header claims another size."""
    data = encoded(picture((64, 48)), "AVIF", max_threads=1)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((0, 0), "BrokenImage"),
        ((2_000, 2_000), "TooManyPixels"),
        # Beyond 16384x16384, or 32768 a side, its library would say no more than no.
        ((100_000, 100_000), "TooManyPixels"),
        ((2**32 - 1, 1), "TooManyPixels"),
        ((32_769, 1), "TooManyPixels"),
    ],
)
def test_an_avif_is_measured_before_it_is_decoded(size: tuple[int, int], reason: str) -> None:
    assert outcome(avif_of(*size)) == reason


def test_an_avif_that_claims_less_than_it_holds_does_no_harm() -> None:
    assert outcome(avif_of(8, 8)) in {"Rendered", "BrokenImage"}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_broken_and_not_of_another_kind(form: str, share: float) -> None:
    whole = encoded(Image.effect_noise((200, 150), 90).convert("RGB"), form)
    assert outcome(whole) == "Rendered"
    assert outcome(whole[: int(len(whole) * share)]) == "BrokenImage"


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic"])
def test_what_resembles_an_avif_is_no_image_of_ours(brands: bytes) -> None:
    box = struct.pack(">I", len(brands) + 8) + b"ftyp" + brands
    assert outcome(box + b"\0" * 100) == "NotAnImage"


def with_scans(count: int, *, between: bytes = b"", behind: bytes = b"") -> bytes:
    """Return a progressive JPEG whose last scan, of a few bytes, is there so often."""
    whole = encoded(Image.new("RGB", (600, 400), (90, 90, 90)), progressive=True)
    end = len(whole) - 2
    last = whole[whole.rindex(b"\xff\xda") : end]
    return whole[:end] + (between + last) * count + whole[end:] + behind


@pytest.mark.parametrize(
    "between",
    [b"", b"\xff\x01", b"\xff", b"\xff" * 9, b"\xff\xff\x01\xff", b"\xff\0", b"\xff\xd0\xff"],
    ids=["nothing", "TEM", "a fill byte", "fill bytes", "TEM and fill", "a stuffed byte", "RST"],
)
def test_a_jpeg_of_hundreds_of_scans_is_refused_from_its_markers(between: bytes) -> None:
    assert outcome(with_scans(50, between=between)) == "Rendered"
    assert outcome(with_scans(101, between=between)) == "BrokenImage"


@pytest.mark.parametrize("marker", [1, 2, 0xBF, *range(0xD0, 0xD9), 0xF0, 0xFD])
def test_only_segments_hide_a_scan(marker: int) -> None:
    """Decoders that look for the next restart pass over markers that mean nothing."""
    scans = bytes((0xFF, marker)) + b"\xff\xda\0\2"
    assert has_more_scans(b"\xff\xd8" + scans * 101, 100)
    hidden = b"\xff\xe1\0\6" + b"\xff\xda\0\2"
    assert not has_more_scans(b"\xff\xd8" + hidden * 101, 100)


def test_a_jpeg_of_hundreds_of_scans_need_not_be_progressive() -> None:
    whole = encoded(Image.new("RGB", (600, 400), (90, 90, 90)), subsampling=0)
    head = whole[: whole.index(b"\xff\xda")]
    scans = [
        b"\xff\xda\0\x08\1" + bytes((component, table, 0, 63, 0))
        for component, table in ((1, 0), (2, 0x11), (3, 0x11))
    ]
    assert outcome(head + b"".join(scans) * 30 + b"\xff\xd9") == "Rendered"
    assert outcome(head + b"".join(scans) * 34 + b"\xff\xd9") == "BrokenImage"


def test_what_follows_a_photo_is_none_of_its_scans() -> None:
    assert outcome(with_scans(0, behind=b"\xff\xda\0\x08" * 200)) == "Rendered"


def test_markers_that_lead_nowhere_end_the_count() -> None:
    assert not has_more_scans(b"\xff\xd8\xff" + b"\xff\xda\xff\xff" * 200, 100)
    assert not has_more_scans(b"\xff\xd8" + b"\xff\xda" * 101, 101)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_profile_of_megabytes_does_not_hinder_a_picture(form: str) -> None:
    profile = Random(1).randbytes(2_000_000)
    assert outcome(encoded(picture(), form, icc_profile=profile)) == "Rendered"


def test_the_notes_of_an_image_editor_do_not_hinder_a_picture() -> None:
    words = PngInfo()
    words.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    assert outcome(encoded(picture(), "PNG", pnginfo=words)) == "Rendered"


LARGE: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 1},
    "WEBP": {"quality": 80, "method": 0},
    "GIF": {},
    "AVIF": {"speed": 10, "max_threads": 1},
    "progressive JPEG": {"progressive": True},
}


@cache
def large(name: str) -> bytes:
    base = Image.radial_gradient("L").resize((1_000, 750)).convert("RGB")
    return encoded(base, name.rpartition(" ")[2], **LARGE[name])


Scarce = Callable[[Path, Form, int, Sequence[int]], list[str]]


@pytest.fixture(scope="module")
def scarce() -> Iterator[Scarce]:
    """Return who says what comes of a file when so many megabytes are left."""
    with subprocess.Popen(
        [sys.executable, "-m", "support.scarce"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def ask(file: Path, form: Form, frames: int, megabytes: Sequence[int]) -> list[str]:
            print(file, form, frames, *megabytes, file=asked, flush=True)
            return told.readline().split()

        yield ask


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, Form.JPEG) for name in LARGE), *(("GIF", form) for form in list(Form)[1:])],
)
def test_a_good_picture_without_memory_is_never_called_broken(
    scarce: Scarce, tmp_path: Path, name: str, form: Form
) -> None:
    file = tmp_path / "large"
    file.write_bytes(large(name))
    first, *between, last = scarce(file, form, 1, (1, 2, 4, 5, 6, 12, 100))
    assert (first, last) == ("OutOfMemory", "Rendered")
    assert set(between) <= {"OutOfMemory", "Rendered"}


@pytest.mark.parametrize("name", ["GIF", "WEBP", "AVIF"])
def test_a_good_animation_without_memory_is_never_called_broken(
    scarce: Scarce, tmp_path: Path, name: str
) -> None:
    base = Image.radial_gradient("L").resize((600, 480)).convert("RGB")
    frames = [base.rotate(5 * turns) for turns in range(10)]
    moving = {"save_all": True, "append_images": frames[1:]}
    file = tmp_path / "moving"
    file.write_bytes(encoded(frames[0], name, **moving, **LARGE.get(name, {})))
    first, *between, last = scarce(file, Form.WEBP, 10, (2, *range(8, 38, 6), 300))
    assert (first, last) == ("OutOfMemory", "Rendered")
    assert set(between) <= {"OutOfMemory", "Rendered"}
