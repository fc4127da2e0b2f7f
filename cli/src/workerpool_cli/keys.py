"""The names of everything a queue keeps in Redis.

Pure.  `docs/protocol.md` is the specification; a contract test holds this and the worker's own
names together.
"""

import re
from dataclasses import dataclass

from workerpool_cli.errors import UsageError

MAX_LIST_CHARACTERS = 512
_TAGGED = re.compile(r"[^{}]*\{[^{}]+\}[^{}]*")
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Keys:
    """The list and its companions, all in one Redis Cluster slot."""

    list: str
    prefix: str

    @property
    def jobs(self) -> str:
        """HASH: lease → envelope, of every job that is no longer in the list."""
        return f"{self.prefix}jobs"

    @property
    def inflight(self) -> str:
        """ZSET: lease → its deadline."""
        return f"{self.prefix}inflight"

    @property
    def retry(self) -> str:
        """ZSET: lease → when its next attempt is due."""
        return f"{self.prefix}retry"

    @property
    def dead(self) -> str:
        """ZSET: lease → when it was buried."""
        return f"{self.prefix}dead"

    @property
    def workers(self) -> str:
        """ZSET: worker → its deadline."""
        return f"{self.prefix}workers"

    @property
    def stats(self) -> str:
        """HASH: counters."""
        return f"{self.prefix}stats"

    @property
    def landing(self) -> str:
        """LIST: where a job that woke a blocked worker lies for a moment before it is claimed."""
        return f"{self.prefix}landing"

    def record(self, worker: str) -> str:
        """HASH: what a worker tells of itself."""
        return f"{self.prefix}worker:{worker}"


def keys_of(list_name: str) -> Keys:
    """Name the companions of a list, or refuse a name that can have none."""
    if not 1 <= len(list_name) <= MAX_LIST_CHARACTERS:
        raise UsageError(f"a list's name has 1 to {MAX_LIST_CHARACTERS} characters")
    if _UNSAFE.search(list_name):
        raise UsageError(f"the list's name {list_name!r} has spaces or control characters")
    if "}" not in list_name:
        return Keys(list_name, f"{{{list_name}}}:")
    if _TAGGED.fullmatch(list_name):
        # `{q}` as it is would begin the keys of the list `q`.
        alone = list_name.startswith("{") and list_name.endswith("}")
        return Keys(list_name, f"{list_name * 2 if alone else list_name}:")
    raise UsageError(
        f"the list's name {list_name!r} has a }} and not exactly one hash tag with something in "
        "it, like q:{eu}:images; no worker takes jobs from such a list"
    )
