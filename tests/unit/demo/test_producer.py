"""The producer's verbs that need no queue, on a folder."""

import json
import tarfile
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from demo import producer
from demo.contact_sheet import compose
from demo.painting import MASTER_PIXELS, paint
from demo.photos import plan

PHOTOS = plan(2)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKERPOOL_INPUT_DIR", str(tmp_path / "in"))
    monkeypatch.setenv("WORKERPOOL_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("WORKERPOOL_THUMBNAIL_PIXELS", "256")
    return tmp_path


def make_thumbnails(folder: Path) -> None:
    (folder / "out").mkdir(exist_ok=True)
    for photo in PHOTOS:
        size = photo.thumbnail_size(256)
        Image.new("RGB", size, (90, 120, 60)).save(folder / "out" / photo.filename)


def test_photos_are_made_whole_and_kept_for_the_next_run(
    photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [replace(p, width=p.width // 8, height=p.height // 8, left=9, top=5) for p in PHOTOS]
    monkeypatch.setattr(producer, "plan", lambda count: tuple(small[:count]))
    monkeypatch.setattr(producer, "paint", partial(paint, side=MASTER_PIXELS // 8))
    assert producer.main(["generate", "--count", "2"]) == 0
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert sorted(line["photo"] for line in said) == [1, 2]
    for photo in small:
        with Image.open(photos / "in" / photo.filename) as stored:
            assert ImageOps.exif_transpose(stored).size == (photo.width, photo.height)
    assert len(list((photos / "in").iterdir())) == 2
    assert producer.main(["generate", "--count", "2"]) == 0
    again = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["cached"] for line in again] == [True, True]


def test_good_thumbnails_are_verified(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_thumbnails(photos)
    assert producer.main(["verify", "--count", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == {"verified": 2}


@pytest.mark.parametrize("fault", ["missing", "torn", "turned", "unturned"])
def test_a_bad_thumbnail_is_named(
    fault: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_thumbnails(photos)
    file = photos / "out" / PHOTOS[0].filename
    if fault == "missing":
        file.unlink()
    elif fault == "torn":
        file.write_bytes(file.read_bytes()[:300])
    elif fault == "turned":
        with Image.open(file) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(file)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(file) as image:
            image.load()
        image.save(file, exif=exif)
    assert producer.main(["verify", "--count", "2"]) == 1
    answer = capsys.readouterr()
    assert json.loads(answer.out) == {"verified": 1}
    assert PHOTOS[0].filename in answer.err


def test_the_archive_holds_the_thumbnails(
    photos: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    make_thumbnails(photos)
    assert producer.main(["archive", "--count", "2"]) == 0
    with tarfile.open(fileobj=BytesIO(capfdbinary.readouterr().out)) as tar:
        assert tar.getnames() == [photo.filename for photo in PHOTOS]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (9, 2), (48, 6), (300, 6)])
def test_a_contact_sheet_shows_up_to_48(photos: Path, count: int, rows: int) -> None:
    make_thumbnails(photos)
    files = [photos / "out" / PHOTOS[0].filename] * count
    with Image.open(BytesIO(compose(files))) as sheet:
        assert sheet.size == (8 * 214 + 14, rows * 214 + 14)
