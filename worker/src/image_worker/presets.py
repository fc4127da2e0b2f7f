"""Presets: what may be made of a photo, decided by whoever runs the workers.

JSON or TOML → frozen presets, with every mistake reported at once; pure but for `read`.  A job
names presets and never operations, so that nobody who may push jobs can order an arbitrary
amount of work.  It knows their fields; it must not know Pillow or jobs.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from image_worker.errors import ConfigError, RejectedJob

MAX_SIDE = 16_383  # WebP's limit; JPEG's and AVIF's are larger
MAX_FRAMES = 1_000
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Scale(StrEnum):
    """How a photo meets the box of its preset."""

    FIT = "fit"
    """The whole photo, as large as fits into the box."""
    FILL = "fill"
    """As much of the photo as fills the box; what stands over is cut off."""


class Gravity(StrEnum):
    """Which part of the photo stays when something is cut off."""

    CENTRE = "centre"
    TOP = "top"
    BOTTOM = "bottom"
    LEFT = "left"
    RIGHT = "right"
    TOP_LEFT = "top-left"
    TOP_RIGHT = "top-right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM_RIGHT = "bottom-right"
    ENTROPY = "entropy"
    """Where there is the most to see: the greys of that part are the most varied."""


class Form(StrEnum):
    """What a rendition is encoded as."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"


@dataclass(frozen=True, slots=True)
class Preset:
    """One rendition of a photo; upright, in sRGB, and never larger than the photo."""

    name: str
    width: int
    """Pixels of the box, of the upright picture."""
    height: int
    scale: Scale = Scale.FIT
    gravity: Gravity = Gravity.CENTRE
    form: Form = Form.JPEG
    quality: int = 85
    """1 to 100, in the encoder's own measure; PNG has none."""
    progressive: bool = False
    """Only JPEG: shows early over a slow line; costs twice the time to encode."""
    optimize: bool = False
    """Only JPEG and PNG: 1 to 3 % fewer bytes for twice the time to encode."""
    frames: int = 1
    """Only WebP: the most pictures of an animation that go on; 1 makes a still."""


def thumbnail(longest_side: int) -> Preset:
    """Return what a job gets that names no preset; having no name, it has no folder either."""
    return Preset("", longest_side, longest_side)


@dataclass(frozen=True, slots=True)
class Presets:
    """All presets there are, by name."""

    by_name: Mapping[str, Preset] = field(default_factory=lambda: MappingProxyType({}))

    def chosen(self, names: Iterable[str]) -> tuple[Preset, ...]:
        """Return the named presets, or refuse the job for those that do not exist."""
        names = tuple(names)
        unknown = [name for name in names if name not in self.by_name]
        if unknown:
            known = ", ".join(sorted(self.by_name)) or "none, see WORKERPOOL_PRESETS_FILE"
            raise RejectedJob(
                "UnknownPreset", f"there is no preset {', '.join(unknown)}; there is {known}"
            )
        return tuple(self.by_name[name] for name in names)


def read(file: Path) -> Presets:
    """Read a file: TOML if its name says so, else JSON."""
    try:
        text = file.read_text()
        return parse_toml(text) if file.suffix == ".toml" else parse_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"WORKERPOOL_PRESETS_FILE {file} cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"WORKERPOOL_PRESETS_FILE {file}: {error}") from error


def parse_toml(text: str) -> Presets:
    """Read TOML with one table per preset."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the presets are not TOML: {error}") from error
    return _presets(document)


def parse_json(text: str) -> Presets:
    """Read a JSON object with one object per preset."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the presets are not JSON: {error}") from error
    return _presets(document)


def _presets(document: object) -> Presets:
    if not isinstance(document, dict):
        raise ConfigError('the presets are no object; write {"thumb": {"width": 256, …}}')
    mistakes: list[str] = []
    found = {name: _preset(name, fields, mistakes) for name, fields in document.items()}
    if mistakes:
        raise ConfigError("the presets are wrong:\n" + "\n".join(f"  {line}" for line in mistakes))
    return Presets(MappingProxyType(found))


def _preset(name: str, value: object, mistakes: list[str]) -> Preset:
    """Read one preset; what is wrong with it is noted, and something of its type returned."""
    fields = _Fields(name, value if isinstance(value, dict) else {}, mistakes)
    if not NAME.fullmatch(name):
        fields.mistake("", "the name has to be of a-z, 0-9 and -, 63 characters at most")
    if not isinstance(value, dict):
        fields.mistake("", f"is {value!r}; write its fields, such as width = 256")
        return Preset(name, 1, 1)
    width, height = (fields.number(side, None, MAX_SIDE) for side in ("width", "height"))
    scale = fields.word("scale", Scale.FIT)
    form = fields.word("format", Form.JPEG)
    preset = Preset(
        name=name,
        width=width,
        height=height,
        scale=scale,
        gravity=fields.word("gravity", Gravity.CENTRE),
        form=form,
        quality=fields.number("quality", 85, 100),
        progressive=fields.switch("progressive"),
        optimize=fields.switch("optimize"),
        frames=fields.number("frames", 1, MAX_FRAMES),
    )
    fields.only_with("gravity", 'scale = "fill"', fits=scale is Scale.FILL)
    fields.only_with("quality", "a format other than png", fits=form is not Form.PNG)
    fields.only_with("progressive", 'format = "jpeg"', fits=form is Form.JPEG)
    fields.only_with("optimize", 'format = "jpeg" or "png"', fits=form in {Form.JPEG, Form.PNG})
    fields.only_with("frames", 'format = "webp"', fits=form is Form.WEBP)
    fields.refuse_unknown()
    return preset


class _Fields:
    """Reads one field after the other and remembers every mistake."""

    def __init__(self, name: str, values: dict[str, Any], mistakes: list[str]) -> None:
        self._name = name
        self._values = values
        self._mistakes = mistakes
        self._known: set[str] = set()

    def number(self, key: str, default: int | None, most: int) -> int:
        def fits(value: object) -> bool:
            # A bool is an int to Python, but width = true is nobody's intention.
            return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most

        what = f"a whole number from 1 to {most}"
        return self._value(key, default=default, fallback=1, fits=fits, what=what)

    def switch(self, key: str) -> bool:
        return self._value(key, default=False, fallback=False, fits=_is_bool, what="true or false")

    def word(self, key: str, default: E) -> E:
        words = [str(word) for word in type(default)]
        value = self._value(
            key,
            default=str(default),
            fallback=str(default),
            fits=words.__contains__,
            what=" or ".join(words),
        )
        return type(default)(value)

    def only_with(self, key: str, what: str, *, fits: bool) -> None:
        if key in self._values and not fits:
            self.mistake(key, f"only goes with {what}; leave it out")

    def refuse_unknown(self) -> None:
        for key in self._values.keys() - self._known:
            self.mistake(key, f"is unknown; there is {', '.join(sorted(self._known))}")

    def mistake(self, key: str, what: str) -> None:
        self._mistakes.append(f"{self._name}{'.' if key else ''}{key} {what}")

    def _value(
        self, key: str, *, default: T | None, fallback: T, fits: Callable[[Any], bool], what: str
    ) -> T:
        self._known.add(key)
        value = self._values.get(key, default)
        if value is None:
            self.mistake(key, f"is missing; write {what}")
        elif not fits(value):
            self.mistake(key, f"is {value!r}; write {what}")
        else:
            return value  # type: ignore[no-any-return]
        return fallback


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)
