"""Which dead letters are meant.

Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import islice

from workerpool_cli.model import Letter


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is given must hold; of a list of words, one."""

    ids: frozenset[str] = frozenset()
    """Of dead letters, or of jobs as the workers' logs name them."""
    reasons: frozenset[str] = frozenset()
    since: timedelta | None = None
    match: str | None = None
    """A pattern of the shell for the whole job as it was pushed."""
    limit: int | None = None
    """Take no more than so many, the newest ones."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it down."""
        return not (self.ids or self.reasons or self.since or self.match)

    def of(self, letters: Iterable[Letter]) -> Iterator[Letter]:
        """Yield the letters that are meant."""
        return islice(filter(self._takes, letters), self.limit)

    def _takes(self, letter: Letter) -> bool:
        return (
            (not self.ids or not self.ids.isdisjoint(letter.names))
            and (not self.reasons or letter.reason in self.reasons)
            and (
                self.match is None or fnmatchcase(letter.raw.decode(errors="replace"), self.match)
            )
        )
