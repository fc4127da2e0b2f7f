"""Lay thumbnails out on one sheet, as a photographer looks at a roll of film.

Knows Pillow and thumbnails; nothing of queues or clusters.
"""

from io import BytesIO
from pathlib import Path

from PIL import Image

_COLUMNS, _ROWS = 8, 6
_CELL = 200
_GAP = 14
_PAPER = (24, 25, 28)
_FRAME = (244, 243, 239)


def compose(files: list[Path]) -> bytes:
    """Return a JPEG of up to 48 of the files, evenly chosen, each as upright as it is stored."""
    step = max(1, len(files) / (_COLUMNS * _ROWS))
    chosen = [files[int(i * step)] for i in range(min(len(files), _COLUMNS * _ROWS))]
    rows = max(1, -(-len(chosen) // _COLUMNS))
    pitch = _CELL + _GAP
    sheet = Image.new("RGB", (_COLUMNS * pitch + _GAP, rows * pitch + _GAP), _PAPER)
    for index, file in enumerate(chosen):
        with Image.open(file) as thumbnail:
            thumbnail.thumbnail((_CELL - 8, _CELL - 8))
            print_ = Image.new("RGB", (thumbnail.width + 8, thumbnail.height + 8), _FRAME)
            print_.paste(thumbnail, (4, 4))
        # Down the columns: photos that follow each other were taken at the same place.
        column, row = divmod(index, rows)
        left = _GAP + column * pitch + (_CELL - print_.width) // 2
        top = _GAP + row * pitch + (_CELL - print_.height) // 2
        sheet.paste(print_, (left, top))
    file_ = BytesIO()
    sheet.save(file_, "JPEG", quality=88)
    return file_.getvalue()
