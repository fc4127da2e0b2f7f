"""The names of everything the queue keeps in Redis, all in the list's own Cluster slot.

Pure.  `docs/protocol.md` is its specification.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from image_worker.errors import ConfigError

MAX_LIST_CHARACTERS = 512
MARK_DIGITS = 8
_TAGGED = re.compile(r"[^{}]*\{[^{}]+\}[^{}]*")
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Keys:
    """The list and the prefix of its companions."""

    list: str
    prefix: str

    @property
    def shared(self) -> tuple[str, ...]:
        """KEYS 1-7 of every script, in the order that `lua/prelude.lua` names them."""
        companions = ("jobs", "inflight", "retry", "dead", "workers", "stats")
        return (self.list, *(self.prefix + name for name in companions))

    @property
    def landing(self) -> str:
        """Where the jobs arrive that wake blocked workers, before they are claimed."""
        return f"{self.prefix}landing"

    @property
    def results(self) -> str:
        """Where the latest results are listed, if somebody asked for them."""
        return f"{self.prefix}results"

    @property
    def retired(self) -> str:
        """Pods that are about to go: their workers get no more jobs."""
        return f"{self.prefix}retired"

    def memory(self, job_id: str) -> str:
        """Who has, or that somebody had, the job with this id."""
        return f"{self.prefix}id:{job_id}"

    def record(self, worker: str) -> str:
        """What a worker tells of itself."""
        return f"{self.prefix}worker:{worker}"


def keys_of(list_name: str) -> Keys:
    """Name the companions of a list, or refuse a name that no companion can share a slot with.

    Redis Cluster hashes what stands between the first `{` and the next `}`.  A plain name
    becomes the tag; a name that carries one tag keeps it and gets suffixes.  One that is nothing
    but a tag is written twice.
    """
    if not 1 <= len(list_name) <= MAX_LIST_CHARACTERS:
        raise ConfigError(f"a list's name has 1 to {MAX_LIST_CHARACTERS} characters")
    if _UNSAFE.search(list_name):
        raise ConfigError("a list's name has no spaces and no control characters")
    if "}" not in list_name:
        return Keys(list_name, f"{{{list_name}}}:")
    if _TAGGED.fullmatch(list_name):
        # `{q}` as it is would begin the keys of the list `q`.
        alone = list_name.startswith("{") and list_name.endswith("}")
        return Keys(list_name, f"{list_name * 2 if alone else list_name}:")
    raise ConfigError(
        "a list's name with a } needs exactly one hash tag with something in it, "
        "like q:{eu}:images; rename the list"
    )


def served(lists: Collection[str]) -> str:
    """Return the mark of these lists in a worker's id: empty if it is one alone.

    None of several queues knows by itself when their worker is idle: who looks after its pod must
    ask them all, and finds out by this whether those are the ones it knows of.
    """
    if len(lists) == 1:
        return ""
    return "+" + sha256("\n".join(sorted(lists)).encode()).hexdigest()[:MARK_DIGITS]
