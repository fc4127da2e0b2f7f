"""Build the product's images without a container engine and without a registry.

The bases come from Debian packages (mmdebstrap), the rest from ordinary Dockerfiles (buildah in a
chroot). A tag is a digest of all that went into the image: the same inputs are never built twice,
and a changed image never hides behind an old name.
"""

import json
import shutil
import tomllib
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from localcluster import locks, mounts, pip_settings
from localcluster.commands import run, run_logged, succeeds
from localcluster.errors import TimedOut
from localcluster.files import write_whole
from localcluster.layout import Layout

_SUITE = "bookworm"
_BUILD_SECONDS = 1200
# /bin is a link from the start: the package that makes it one later brings 50 MB of Perl.
_NO_USRMERGE = r"""
folder="$1/etc/apt/preferences.d"
mkdir -p "$folder"
printf 'Package: usrmerge\nPin: version *\nPin-Priority: -1\n' >"$folder/no-usrmerge"
"""
_MERGED_USR = (
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    f"--setup-hook={_NO_USRMERGE}",
)
_SLIM = ("doc", "man", "locale", "info", "lintian", "bug")
"""Folders of /usr/share that programs do not read."""


@dataclass(frozen=True)
class Base:
    """An image of Debian packages: Python to run with, or to build with."""

    name: str
    packages: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The digest of what it consists of."""
        return _digest([_SUITE, *_MERGED_USR, *_SLIM, *self.packages])


@dataclass(frozen=True)
class Product:
    """An image of ours: its name, and the folder of its distribution."""

    name: str
    folder: str

    def inputs(self, checkout: Path) -> list[Path]:
        """Return every file that the image is made from."""
        source = checkout / self.folder
        files = [
            source / "Dockerfile",
            source / "pyproject.toml",
            checkout / "locks" / "build.txt",
            checkout / "locks" / f"{self.folder}.txt",
            checkout / ".dockerignore",
        ]
        code = [
            path
            for path in (source / "src").rglob("*")
            if path.is_file()
            and "__pycache__" not in path.parts
            and not any(part.endswith(".egg-info") for part in path.parts)
        ]
        return [*files, *code]


@dataclass(frozen=True)
class Built:
    """An image that exists: its full name, its archive and the archive's size."""

    image: str
    archive: str
    bytes: int


# Wheels may count on the C++ library (Pillow's AVIF does): python:3-slim has it too.
_RUNTIME = (
    "usr-is-merged",
    "python3",
    "python-is-python3",
    "libstdc++6",
    "ca-certificates",
    "tzdata",
)
RUNTIME = Base("python", _RUNTIME)
BUILDER = Base("python-build", (*_RUNTIME, "python3-venv"))
REDIS = Base("redis", ("usr-is-merged", "redis-server", "redis-tools"))
PRODUCTS = (Product("workerpool-operator", "operator"), Product("image-worker", "worker"))


def build(layout: Layout) -> dict[str, Built]:
    """Build what changed, write the index, and return it: by name, what to load."""
    layout.images.mkdir(parents=True, exist_ok=True)
    with locks.held(
        layout.images,
        timeout_seconds=2 * _BUILD_SECONDS,
        otherwise="another build of the images is still at work; end it and try again",
    ):
        return _build(layout)


def _build(layout: Layout) -> dict[str, Built]:
    _forget_interrupted(layout)
    for base in (RUNTIME, BUILDER, REDIS):
        _ensure_base(layout, base)
    names = {REDIS.name: _name(REDIS.name, REDIS.tag)}
    for product in PRODUCTS:
        names[product.name] = _ensure_product(layout, product)
    index = {name: _ensure_archive(layout, name, image) for name, image in names.items()}
    _forget_others(layout, index)
    text = json.dumps({name: asdict(built) for name, built in index.items()}, indent=2)
    write_whole(layout.images / "index.json", text + "\n")
    return index


def push(layout: Layout, index: dict[str, Built], repository: str) -> list[str]:
    """Copy the images to a registry (or `oci:` folder) and return their names there."""
    pushed = []
    for built in index.values():
        target = destination(repository, built.image)
        transport = "" if target.startswith(("oci:", "docker://")) else "docker://"
        run([*_buildah(layout), "push", built.image, f"{transport}{target}"], timeout_seconds=600)
        pushed.append(target)
    return pushed


def forget_interrupted(layout: Layout) -> None:
    """Remove what a build that was interrupted left mounted; nothing while one is at work."""
    if layout.images.is_dir():
        with suppress(TimedOut), locks.held(layout.images, timeout_seconds=0, otherwise=""):
            _forget_interrupted(layout)


def remove_all(layout: Layout) -> None:
    """Remove everything that was ever built: programs, images, caches."""
    forget_interrupted(layout)
    if layout.build.exists():
        mounts.refuse_below(layout.build)
        shutil.rmtree(layout.build)


def destination(repository: str, image: str) -> str:
    """Return an image's name in another repository: `localhost` gives way to it."""
    return f"{repository.rstrip('/')}/{image.removeprefix('localhost/')}"


def tag_of(checkout: Path, product: Product) -> str:
    """Return the digest of everything that a product's image is made from."""
    parts: list[str] = [RUNTIME.tag, BUILDER.tag]
    for path in sorted(product.inputs(checkout)):
        parts += [path.relative_to(checkout).as_posix(), sha256(path.read_bytes()).hexdigest()]
    return _digest(parts)


def _ensure_base(layout: Layout, base: Base) -> None:
    image = _name(base.name, base.tag)
    if _exists(layout, image):
        return
    print(f"  building {image} from Debian packages …", flush=True)
    work = layout.images / f"{base.name}.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    log = layout.build / "logs" / f"{base.name}.log"
    slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _SLIM]
    run_logged(
        [
            *("mmdebstrap", "--variant=essential", "--mode=root", *_MERGED_USR, *slim),
            *("--aptopt=APT::Install-Recommends false", f"--include={','.join(base.packages)}"),
            *(_SUITE, str(work / "root.tar")),
        ],
        log,
        timeout_seconds=_BUILD_SECONDS,
    )
    (work / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
    _bud(layout, image, work / "Dockerfile", work, [], log)
    shutil.rmtree(work)


def _ensure_product(layout: Layout, product: Product) -> str:
    image = _name(product.name, tag_of(layout.checkout, product))
    if _exists(layout, image):
        return image
    print(f"  building {image} …", flush=True)
    folder = layout.checkout / product.folder
    version = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    arguments = [
        f"--build-arg=BASE={_name(RUNTIME.name, RUNTIME.tag)}",
        f"--build-arg=BUILD_BASE={_name(BUILDER.name, BUILDER.tag)}",
        f"--build-arg=VERSION={version}",
    ]
    with pip_settings.as_secrets() as secrets:
        arguments += [f"--secret={secret}" for secret in secrets]
        log = layout.build / "logs" / f"{product.name}.log"
        _bud(layout, image, folder / "Dockerfile", layout.checkout, arguments, log)
    if image != _name(product.name, tag_of(layout.checkout, product)):
        # Somebody edited meanwhile: what was built is not what its name says.
        run([*_buildah(layout), "rmi", image])
        return _ensure_product(layout, product)
    return image


def _bud(
    layout: Layout, image: str, dockerfile: Path, context: Path, arguments: list[str], log: Path
) -> None:
    run_logged(
        [
            *_buildah(layout),
            *("bud", "--isolation=chroot", "--format=oci", "--layers"),
            *arguments,
            *("--tag", image, "--file", str(dockerfile), str(context)),
        ],
        log.with_stem(f"{log.stem}-image"),
        timeout_seconds=_BUILD_SECONDS,
    )


def _ensure_archive(layout: Layout, name: str, image: str) -> Built:
    archive = layout.images / f"{name}-{image.rpartition(':')[2]}.tar"
    if not archive.exists():
        draft = archive.with_suffix(".new")
        draft.unlink(missing_ok=True)
        target = f"docker-archive:{draft}:{image}"
        run([*_buildah(layout), "push", image, target], timeout_seconds=600)
        draft.replace(archive)
    relative = archive.relative_to(layout.checkout).as_posix()
    return Built(image, relative, archive.stat().st_size)


def _forget_others(layout: Layout, index: dict[str, Built]) -> None:
    """Remove what earlier builds of the same images left, except for cached layers."""
    archives = {Path(built.archive).name for built in index.values()}
    for archive in layout.images.glob("*.tar"):
        if archive.name not in archives:
            archive.unlink()
    kept = {built.image for built in index.values()}
    listing = run([*_buildah(layout), "images", "--format", "{{.Name}}:{{.Tag}}"])
    ours = tuple(f"localhost/{name}:" for name in index)
    outdated = {image for image in listing.split() if image.startswith(ours)} - kept
    if outdated:
        run([*_buildah(layout), "rmi", *sorted(outdated)])


def _forget_interrupted(layout: Layout) -> None:
    """Remove all containers that images are built in: those of a build go with its end."""
    if _storage(layout).is_dir() and shutil.which("buildah"):
        run([*_buildah(layout), "rm", "--all"])


def _exists(layout: Layout, image: str) -> bool:
    return succeeds([*_buildah(layout), "inspect", "--type=image", image])


def _buildah(layout: Layout) -> list[str]:
    storage = _storage(layout)
    return [
        *("buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run")),
        *("--storage-driver", "overlay"),
    ]


def _storage(layout: Layout) -> Path:
    return layout.build / "containers"


def _name(name: str, tag: str) -> str:
    return f"localhost/{name}:{tag}"


def _digest(parts: list[str]) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:12]
