"""Cut a stream into pieces (itertools has this from Python 3.12 on)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield tuples of `size` items; the last may be shorter."""
    source = iter(items)
    while batch := tuple(islice(source, size)):
        yield batch
