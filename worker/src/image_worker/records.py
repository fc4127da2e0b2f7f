"""Values that are made anew for each job, and should cost it nothing.

The type checker holds them to be frozen.  A dataclass that is frozen at run time, too, takes three
times as long to make: a microsecond for each, of which a job needs four.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(kind: type[T]) -> type[T]:
    """Make it a dataclass with slots that nobody writes to."""
    return dataclass(slots=True)(kind)
