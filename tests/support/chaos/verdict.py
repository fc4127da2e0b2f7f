"""What a storm's audit finds."""

from collections.abc import Collection
from dataclasses import dataclass, field

NAMES_SHOWN = 5


@dataclass(slots=True)
class Verdict:
    """Figures to show, and sentences about what is wrong: none, if all is well."""

    figures: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, seen: object, wanted: object) -> None:
        """Note a problem if two things differ."""
        if seen != wanted:
            self.problems.append(f"{what}: {seen!r}, expected {wanted!r}")

    def expect_none(self, what: str, names: Collection[str]) -> None:
        """Note a problem if there is any, with the first few."""
        if names:
            self.problems.append(f"{what}: {len(names)}, as {sorted(names)[:NAMES_SHOWN]}")

    def expect_some(self, what: str, number: int) -> None:
        """Note a problem if something never happened: then nothing is known of it."""
        if not number:
            self.problems.append(f"{what}: none, so the storm has shown nothing of it")
