"""What a file says of itself in its first bytes, before any decoder is asked.

Pure.  It knows how the formats begin and where they write their size; what is refused because
of it is decoding's affair.  Nothing here takes memory or time worth a thought.
"""

import re
import struct
from collections.abc import Iterator

Size = tuple[int, int]
AVIF_BRANDS = frozenset({b"avif", b"avis"})
AVIF_SEARCHED_BYTES = 1 << 20
WEBP_HEADER_BYTES = 30
_SCAN, _END = 0xDA, 0xD9
# What a JPEG's segments begin with; a length follows.  It follows neither the markers of restarts
# nor TEM, nor those that mean nothing, which decoders may pass over: what looks like one is data.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xdd\xe0-\xef\xfe]")


def format_of(data: bytes) -> str | None:
    """Name the format a file begins as; None is none that we read."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4]), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        return "AVIF" if brands & AVIF_BRANDS else None
    return None


def size_of(data: bytes) -> Size | None:
    """Read the size where decoders take memory for it, or refuse it, before they tell."""
    match format_of(data):
        case "WEBP":
            return _webp_size(data)
        case "AVIF":
            return max(_avif_sizes(data), key=lambda size: size[0] * size[1], default=None)
        case _:
            return None


def has_more_scans(data: bytes, most: int) -> bool:
    """Say whether a JPEG goes over its pixels more often than that.

    Hundreds of scans are a few bytes each, and each costs the time of a whole picture.
    """
    # Quick, and never too few; what follows a picture (a video, say) may be counted too.
    if data.count(bytes((0xFF, _SCAN))) <= most:
        return False
    at, scans = 2, 0
    while (found := _MARKER.search(data, at)) and data[found.start() + 1] != _END:
        scans += data[found.start() + 1] == _SCAN
        if scans > most:
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return False


def _webp_size(data: bytes) -> Size | None:
    """Read a WebP's header.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    if len(data) < WEBP_HEADER_BYTES:
        return None
    match data[12:16]:
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = (
                int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28)
            )
        case _:
            return None
    return width, height


def _avif_sizes(data: bytes) -> Iterator[Size]:
    """Read all sizes in an AVIF's list of properties: of the picture, its tiles, its alpha.

    ISO/IEC 23008-12, ImageSpatialExtentsProperty.
    """
    end = min(len(data), AVIF_SEARCHED_BYTES)
    at = data.find(b"ispe", 0, end)
    while 0 <= at <= end - 16:
        yield struct.unpack_from(">II", data, at + 8)
        at = data.find(b"ispe", at + 16, end)
