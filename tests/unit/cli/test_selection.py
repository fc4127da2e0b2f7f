import pytest

from workerpool_cli.model import Envelope, Letter
from workerpool_cli.selection import Selection


def letter(number: int, reason: str, raw: bytes) -> Letter:
    return Letter(f"w-{number}", number, Envelope(f"j-{number}", 1, 0, 1, reason, "", raw))


LETTERS = [
    letter(3, "Timeout", b'{"filename": "2026/a.jpg"}'),
    letter(2, "Timeout", b'{"filename": "2025/b.jpg"}'),
    letter(1, "BadJson", b"\xff2026/"),
    Letter("w-0", 0, None),
]


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), [3, 2, 1, 0]),
        (Selection(reasons=frozenset({"Timeout"})), [3, 2]),
        (Selection(reasons=frozenset({"BadJson", "Unreadable"})), [1, 0]),
        (Selection(match="*2026/*"), [3, 1]),
        (Selection(match="2026"), []),
        (Selection(match="*2026/*", reasons=frozenset({"Timeout"})), [3]),
        (Selection(ids=frozenset({"w-2", "j-1", "w-0"})), [2, 1, 0]),
        (Selection(limit=2), [3, 2]),
    ],
)
def test_what_is_given_must_hold(selection: Selection, taken: list[int]) -> None:
    assert [letter.died_ms for letter in selection.of(LETTERS)] == taken


def test_a_limit_alone_does_not_say_which() -> None:
    assert Selection(limit=5).is_everything
