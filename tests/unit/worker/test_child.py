"""One job as a child does it, from payload to files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from image_worker import __main__, child, settings, wire
from image_worker.errors import ConfigError
from image_worker.settings import ImageSettings
from support.photos import Photo
from support.pictures import encoded, jpeg, picture

PRESETS = {
    "large": {"width": 400, "height": 400},
    "card": {"width": 160, "height": 90, "scale": "fill", "format": "webp"},
}


@pytest.fixture
def images(tmp_path: Path) -> ImageSettings:
    (tmp_path / "in").mkdir()
    return settings.read_images(
        {
            "WORKERPOOL_INPUT_DIR": str(tmp_path / "in"),
            "WORKERPOOL_OUTPUT_DIR": str(tmp_path / "out"),
            "WORKERPOOL_PRESETS": json.dumps(PRESETS),
        }
    )


def run(images: ImageSettings, **payload: object) -> wire.Outcome:
    return child.process(json.dumps(payload).encode(), images)


def outputs(images: ImageSettings) -> set[str]:
    files = (path for path in images.output_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(images.output_dir)) for path in files}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (({}, {}), "a.png.jpg"),
        (({"output": "users/7"}, {"output": "users/7"}), "users/7.jpg"),
        (({"output": "users/7"}, {"output": "users/7.jpg"}), "users/7.jpg"),
    ],
)
def test_of_two_photos_with_one_output_the_last_that_is_done_stays(
    images: ImageSettings, said: tuple[dict[str, str], dict[str, str]], name: str
) -> None:
    photos = {"a.png": (60, 40), "a.png.jpg": (30, 50)}
    jobs = [
        ({"filename": photo} | more, photos[photo])
        for photo, more in zip(photos, said, strict=True)
    ]
    for job, size in jobs:
        (images.input_dir / job["filename"]).write_bytes(jpeg(size))
    for order in (jobs, jobs[::-1]):
        for job, size in order:
            assert isinstance(run(images, **job), wire.Done)
            with Image.open(images.output_dir / name) as stays:
                assert stays.size == size
        assert outputs(images) == {name}


def test_each_preset_has_its_rendition_and_the_report_lists_them(images: ImageSettings) -> None:
    photo = Photo(77, 800, 600, orientation=6)
    (images.input_dir / "a.jpg").write_bytes(photo.jpeg())
    done = run(images, filename="a.jpg", presets=["card", "large"], report=True)
    assert isinstance(done, wire.Done)
    assert (done.width, done.height) == (160, 90)
    assert outputs(images) == {"card/a.jpg.webp", "large/a.jpg", "a.jpg.json"}
    with Image.open(images.output_dir / "large" / "a.jpg") as large:
        assert large.size == (400, 300)
        assert photo.faults_of(large) == []
    report = json.loads((images.output_dir / "a.jpg.json").read_text())
    assert (report["width"], report["height"], report["format"]) == (800, 600, "jpeg")
    assert report["dominant_colour"].startswith("#")
    assert len(report["blurhash"]) == 28
    card, large_one = report["renditions"]
    assert card | {"milliseconds": 0} == {
        "preset": "card",
        "file": "card/a.jpg.webp",
        "format": "webp",
        "width": 160,
        "height": 90,
        "frames": 1,
        "bytes": (images.output_dir / "card" / "a.jpg.webp").stat().st_size,
        "milliseconds": 0,
    }
    assert large_one["preset"] == "large"
    assert card["milliseconds"] > 0
    assert done.output_bytes == card["bytes"] + large_one["bytes"]


def test_without_a_preset_there_is_one_thumbnail_at_the_same_name(images: ImageSettings) -> None:
    (images.input_dir / "a.jpg").write_bytes(jpeg((640, 480)))
    assert isinstance(run(images, filename="a.jpg"), wire.Done)
    assert outputs(images) == {"a.jpg"}
    with Image.open(images.output_dir / "a.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (256, 192))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"filename": "a.jpg", "preset": "huge"}, "UnknownPreset"),
        ({"filename": "a.jpg", "presets": []}, "BadPreset"),
        ({"filename": "x" * 251, "preset": "card"}, "BadOutput"),
    ],
)
def test_a_job_is_refused_before_its_photo_is_read(
    images: ImageSettings, payload: dict[str, object], reason: str
) -> None:
    refused = run(images, **payload)
    assert isinstance(refused, wire.Rejected)
    assert refused.reason == reason
    assert not images.output_dir.exists()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.exe", "a"])
def test_a_wrong_extension_is_no_reason(images: ImageSettings, name: str, form: str) -> None:
    (images.input_dir / name).write_bytes(encoded(picture((640, 480)), form))
    assert isinstance(run(images, filename=name), wire.Done)
    (made,) = outputs(images)
    with Image.open(images.output_dir / made) as image:
        assert (image.format, image.size) == ("JPEG", (256, 192))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff\xd8\xff", b"<?php phpinfo();"])
def test_what_is_no_image_stays_none_whatever_it_is_called(
    images: ImageSettings, data: bytes
) -> None:
    (images.input_dir / "a.jpg").write_bytes(data)
    refused = run(images, filename="a.jpg", report=True)
    assert isinstance(refused, wire.Rejected)
    assert refused.reason in {"NotAnImage", "BrokenImage"}
    assert not images.output_dir.exists()


def test_an_address_is_refused_where_no_hosts_are_allowed(images: ImageSettings) -> None:
    refused = run(images, filename="http://photos.test/a.jpg", output="a")
    assert isinstance(refused, wire.Rejected)
    assert refused.reason == "AddressNotAllowed"


def test_the_same_job_writes_the_same_bytes(images: ImageSettings) -> None:
    (images.input_dir / "a.jpg").write_bytes(Photo(3).jpeg())
    job = {"filename": "a.jpg", "presets": ["card", "large"]}
    contents = []
    for _ in range(2):
        run(images, **job)
        contents.append({n: (images.output_dir / n).read_bytes() for n in outputs(images)})
    assert contents[0] == contents[1]


def test_wrong_presets_end_the_supervisor_at_its_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "presets.toml"
    file.write_text("[thumb]\nwidth = 0\n")
    least = {"WORKERPOOL_QUEUE": "q", "WORKERPOOL_REDIS_URL": "redis://localhost:1"}
    assert __main__.main({**least, "WORKERPOOL_PRESETS_FILE": str(file)}) == 2
    said = capsys.readouterr().err
    assert f"WORKERPOOL_PRESETS_FILE {file}" in said
    assert "thumb.width is 0" in said
    assert "thumb.height is missing" in said


def test_presets_come_from_one_place_only(images: ImageSettings, tmp_path: Path) -> None:
    assert set(images.presets.by_name) == {"large", "card"}
    with pytest.raises(ConfigError, match="both set: keep one"):
        settings.read_images({"WORKERPOOL_PRESETS": "{}", "WORKERPOOL_PRESETS_FILE": "/x"})
    file = tmp_path / "presets.json"
    file.write_text(json.dumps(PRESETS))
    read = settings.read_images({"WORKERPOOL_PRESETS_FILE": str(file)})
    assert settings.with_presets(read).presets == images.presets
    with pytest.raises(ConfigError, match=r"WORKERPOOL_PRESETS (.|\n)*thumb\.width is missing"):
        settings.read_images({"WORKERPOOL_PRESETS": '{"thumb": {}}'})
