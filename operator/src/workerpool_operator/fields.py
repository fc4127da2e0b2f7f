"""Values of a resource that know where they stand, so that an error can name the field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from workerpool_operator.errors import InvalidResource


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the resource and where it stands, so that an error can name it."""

    value: Any
    path: str

    def __getitem__(self, name: str) -> "Field":
        mapping = self.mapping()
        if name not in mapping:
            raise InvalidResource(
                f"{self.path}.{name} is missing: write the resource again (kubectl apply), so "
                f"that the installed CRD checks it and fills in its defaults",
            )
        return Field(mapping[name], f"{self.path}.{name}")

    def get(self, name: str, default: Any = None) -> "Field":  # noqa: ANN401  any JSON value
        """Return a field that may be left out, or be null."""
        value = self.mapping().get(name)
        return Field(default if value is None else value, f"{self.path}.{name}")

    def items(self) -> "Sequence[Field]":
        """Return the entries of a list."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Field(value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def mapping(self) -> Mapping[str, Any]:
        """Return it as a mapping."""
        if not isinstance(self.value, Mapping):
            raise self.wrong("a mapping")
        return self.value

    def text(self) -> str:
        """Return it as a string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("a string that is not empty")
        return self.value

    def number(self) -> int:
        """Return it as a whole number, zero at least."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < 0:
            raise self.wrong("a whole number of at least 0")
        return self.value

    def flag(self) -> bool:
        """Return it as true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def seconds(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.number())

    def wrong(self, wanted: str) -> InvalidResource:
        """Return the error that says so."""
        return InvalidResource(
            f"{self.path} must be {wanted}, not {self.value!r}; see kubectl explain workerpool",
        )
