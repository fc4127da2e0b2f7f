"""What is started with a `with` statement, and ended with it however it goes."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Context(ABC):
    """Started whole or not at all."""

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @abstractmethod
    def _begin(self) -> None:
        """Start it; what is half-made when this raises is ended, too."""

    @abstractmethod
    def _end(self) -> None:
        """End whatever there is of it."""
