import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import ConfigError, RejectedJob
from image_worker.presets import (
    Form,
    Gravity,
    Preset,
    Presets,
    Scale,
    parse_json,
    parse_toml,
    read,
)

LEAST = {"width": 256, "height": 200}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["width", "height", "scale", "format", "quality", "frames", "nonsense"]),
    ANYTHING | st.sampled_from(["fit", "fill", "jpeg", "png", "webp", "avif"]),
)


def mistakes(document: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_json(json.dumps(document))
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_a_preset_needs_a_box_and_has_plain_defaults() -> None:
    (preset,) = parse_json(json.dumps({"thumb": LEAST})).by_name.values()
    assert preset == Preset("thumb", 256, 200, Scale.FIT, Gravity.CENTRE, Form.JPEG, 85)
    assert not preset.progressive
    assert not preset.optimize
    assert preset.frames == 1


def test_every_field_can_be_written_in_toml() -> None:
    presets = parse_toml(
        """
        [card]
        width = 640
        height = 360
        scale = "fill"
        gravity = "top-left"
        quality = 70
        progressive = true
        optimize = true

        [loop]
        width = 200
        height = 200
        format = "webp"
        frames = 40
        """
    )
    card, loop = presets.chosen(["card", "loop"])
    assert card == Preset(
        "card",
        640,
        360,
        Scale.FILL,
        Gravity.TOP_LEFT,
        Form.JPEG,
        70,
        progressive=True,
        optimize=True,
    )
    assert loop == Preset("loop", 200, 200, form=Form.WEBP, frames=40)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"height": 1}, "thumb.width is missing; write a whole number from 1 to 16383"),
        ({**LEAST, "width": 0}, "thumb.width is 0; write a whole number from 1 to 16383"),
        ({**LEAST, "width": 1e3}, "thumb.width is 1000.0; write a whole number"),
        ({**LEAST, "width": True}, "thumb.width is True; write a whole number"),
        ({**LEAST, "height": "9"}, "thumb.height is '9'; write a whole number"),
        ({**LEAST, "scale": "crop"}, "thumb.scale is 'crop'; write fit or fill"),
        ({**LEAST, "scale": []}, "thumb.scale is []; write fit or fill"),
        ({**LEAST, "format": "gif"}, "thumb.format is 'gif'; write jpeg or png or webp or avif"),
        ({**LEAST, "quality": 101}, "thumb.quality is 101; write a whole number from 1 to 100"),
        ({**LEAST, "progressive": 1}, "thumb.progressive is 1; write true or false"),
        ({**LEAST, "rotate": 90}, "thumb.rotate is unknown; there is format, frames, gravity"),
        ({**LEAST, "gravity": "top"}, 'thumb.gravity only goes with scale = "fill"'),
        ({**LEAST, "frames": 9}, 'thumb.frames only goes with format = "webp"'),
        ({**LEAST, "format": "png", "quality": 9}, "thumb.quality only goes with a format other"),
        ({**LEAST, "format": "webp", "optimize": True}, "thumb.optimize only goes with"),
        ({**LEAST, "format": "webp", "progressive": True}, "thumb.progressive only goes with"),
        (7, "thumb is 7; write its fields"),
    ],
)
def test_a_wrong_field_is_named_with_the_remedy(fields: object, line: str) -> None:
    (said,) = mistakes({"thumb": fields})
    assert said.startswith(line)


@pytest.mark.parametrize("name", ["", "Thumb", "a/b", "..", "-a", "ä", "x" * 64])
def test_a_name_has_to_be_fit_for_a_folder(name: str) -> None:
    (said,) = mistakes({name: LEAST})
    assert "a-z, 0-9 and -" in said


def test_all_mistakes_are_reported_together() -> None:
    said = mistakes({"a": {"width": 0, "scale": "x"}, "b": {**LEAST, "colour": 1}, "C": LEAST})
    assert [line.split(" ")[0] for line in said] == [
        "a.width",
        "a.height",
        "a.scale",
        "b.colour",
        "C",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000])
def test_what_is_no_object_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="the presets are no"):
        parse_json(text)


def test_what_is_no_toml_is_said() -> None:
    with pytest.raises(ConfigError, match="the presets are not TOML"):
        parse_toml("= 7")


@given(st.dictionaries(st.text(max_size=4), FIELDS | ANYTHING, max_size=3))
def test_every_document_is_read_or_refused_with_a_reason_for_each_mistake(
    document: dict[str, object],
) -> None:
    try:
        presets = parse_json(json.dumps(document))
    except ConfigError as error:
        assert str(error).count("\n") >= 1  # noqa: PT017
    else:
        assert presets.by_name.keys() == document.keys()


def test_an_unknown_preset_is_rejected_with_what_there_is() -> None:
    presets = parse_json(json.dumps({"thumb": LEAST, "card": LEAST}))
    with pytest.raises(
        RejectedJob, match="no preset large, small; there is card, thumb"
    ) as caught:
        presets.chosen(["large", "thumb", "small"])
    assert caught.value.reason == "UnknownPreset"
    with pytest.raises(RejectedJob, match="WORKERPOOL_PRESETS_FILE"):
        Presets().chosen(["thumb"])


def test_a_file_is_toml_or_json_by_its_name(tmp_path: Path) -> None:
    toml, other = tmp_path / "presets.toml", tmp_path / "presets.json"
    toml.write_text("[thumb]\nwidth = 256\nheight = 200\n")
    other.write_text(json.dumps({"thumb": LEAST}))
    assert read(toml) == read(other)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"[]", b"{"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "presets.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"WORKERPOOL_PRESETS_FILE .*presets\.json"):
        read(file)
