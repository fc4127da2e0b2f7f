"""Moments as producers write them: RFC 3339 with a zone, or seconds since 1970.

Pure.  What a moment is for is its reader's affair.
"""

import math
import re
from datetime import datetime

LATEST_SECONDS = 253_402_300_799  # the end of the year 9999
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def milliseconds(value: object) -> int:
    """Return milliseconds since 1970; raises ValueError that says what is wrong with it."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            seconds = datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError) as error:
            raise ValueError(f"is no time: {error}") from error
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError("is no time")
    if not 0 <= seconds <= LATEST_SECONDS:  # as no NaN is, nor a number too large for a float
        raise ValueError("is not between 1970 and 9999")
    return math.ceil(seconds * 1000)
