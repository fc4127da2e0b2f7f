"""When an image is built again, and what it is called."""

import shutil
from pathlib import Path

import pytest

from localcluster import images
from localcluster.images import PRODUCTS, Product

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all that the worker's image is made from."""
    for path in worker().inputs(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return tmp_path


def worker() -> Product:
    (product,) = (product for product in PRODUCTS if product.name == "image-worker")
    return product


def test_the_same_inputs_elsewhere_have_the_same_tag(checkout: Path) -> None:
    assert images.tag_of(checkout, worker()) == images.tag_of(ROOT, worker())


@pytest.mark.parametrize(
    "changed",
    [
        "worker/Dockerfile",
        "worker/pyproject.toml",
        "worker/src/image_worker/__init__.py",
        "locks/worker.txt",
        "locks/build.txt",
        ".dockerignore",
    ],
)
def test_every_input_changes_the_tag(checkout: Path, changed: str) -> None:
    before = images.tag_of(checkout, worker())
    with (checkout / changed).open("a") as file:
        file.write("\n# changed\n")
    assert images.tag_of(checkout, worker()) != before


def test_a_new_module_changes_the_tag(checkout: Path) -> None:
    before = images.tag_of(checkout, worker())
    (checkout / "worker/src/image_worker/new.py").touch()
    assert images.tag_of(checkout, worker()) != before


def test_caches_do_not_change_the_tag(checkout: Path) -> None:
    before = images.tag_of(checkout, worker())
    cache = checkout / "worker/src/image_worker/__pycache__"
    cache.mkdir()
    (cache / "x.cpython-311.pyc").touch()
    assert images.tag_of(checkout, worker()) == before


def test_another_list_of_packages_is_another_base() -> None:
    assert images.RUNTIME.tag != images.BUILDER.tag


@pytest.mark.parametrize("repository", ["registry.example/team", "registry.example/team/"])
def test_an_image_keeps_name_and_tag_in_another_repository(repository: str) -> None:
    name = images.destination(repository, "localhost/image-worker:0123456789ab")
    assert name == "registry.example/team/image-worker:0123456789ab"
