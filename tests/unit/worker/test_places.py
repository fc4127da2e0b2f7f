from pathlib import Path

import pytest

from image_worker import places
from image_worker.errors import ConfigError
from image_worker.places import Bucket, Hosts
from image_worker.settings import read_images


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/photos/in", Path("/photos/in")),
        ("s3://photos", Bucket("photos", "")),
        ("s3://photos/", Bucket("photos", "")),
        ("s3://my.photos/in/2026/", Bucket("my.photos", "in/2026")),
    ],
)
def test_a_place_is_a_folder_or_a_bucket(text: str, place: places.Place) -> None:
    assert places.parse(text) == place
    assert places.parse(str(place)) == place


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("photos", "absolute path or s3://"),
        ("", "absolute path or s3://"),
        ("gs://photos", "absolute path or s3://"),
        ("https://photos", "absolute path or s3://"),
        ("s3://photos?x=1", "absolute path or s3://"),
        ("s3://key:secret@photos/in", "AWS_ACCESS_KEY_ID"),
        ("s3://", "3 to 63 characters"),
        ("s3://P/in", "3 to 63 characters"),
        ("s3://photos/a//b", "empty part"),
        ("s3://photos/../b", "empty part"),
    ],
)
def test_what_is_no_place_is_refused_with_the_remedy(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        places.parse(text)


@pytest.mark.parametrize(
    ("allowed", "asked", "expected"),
    [
        ("a.example", ("a.example", 443, "https"), True),
        ("a.example", ("a.example", 80, "http"), True),
        ("a.example", ("a.example", 80, "https"), False),
        ("a.example", ("a.example", 8080, "http"), False),
        ("a.example:8080", ("a.example", 8080, "http"), True),
        ("a.example:8080", ("a.example", 80, "http"), False),
        ("a.example", ("b.a.example", 443, "https"), False),
        ("*.a.example", ("b.a.example", 443, "https"), True),
        ("*.a.example", ("c.b.a.example", 443, "https"), True),
        ("*.a.example", ("a.example", 443, "https"), False),
        ("*.a.example", ("evila.example", 443, "https"), False),
        ("x.example, A.Example ,", ("a.example", 443, "https"), True),
        ("", ("a.example", 443, "https"), False),
    ],
)
def test_hosts_are_allowed_by_name_and_port(
    allowed: str, asked: tuple[str, int, str], *, expected: bool
) -> None:
    assert places.hosts(allowed).allow(*asked) is expected


@pytest.mark.parametrize("text", ["*", "*.com", "a b", "https://a.example", "a.example/x", "a:b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host; write"):
        places.hosts(text)


def test_places_are_settings() -> None:
    least = {"WORKERPOOL_INPUT_DIR": "s3://photos/in", "WORKERPOOL_OUTPUT_DIR": "s3://photos/out"}
    images = read_images({**least, "WORKERPOOL_S3_ENDPOINT": "http://minio:9000/"})
    assert (images.source, images.sink) == (Bucket("photos", "in"), Bucket("photos", "out"))
    assert images.endpoint == "http://minio:9000"
    assert images.carried
    assert not read_images({}).carried
    assert read_images({"WORKERPOOL_HTTP_HOSTS": "a.example"}).carried
    assert read_images({}).hosts == Hosts()


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("INPUT_DIR", "ftp://x", "absolute path or s3://"),
        ("OUTPUT_DIR", "s3://photos/in", "would replace the photos"),
        ("S3_ENDPOINT", "minio:9000", "write an address like"),
        ("S3_ENDPOINT", "http://key@minio", "AWS_ACCESS_KEY_ID"),
        ("HTTP_HOSTS", "*", "is no host"),
    ],
)
def test_a_wrong_place_is_named_with_the_remedy(name: str, value: str, hint: str) -> None:
    environ = {"WORKERPOOL_INPUT_DIR": "s3://photos/in", f"WORKERPOOL_{name}": value}
    with pytest.raises(ConfigError) as caught:
        read_images(environ)
    (line,) = str(caught.value).splitlines()[1:]
    assert f"WORKERPOOL_{name} " in line
    assert hint in line
