"""How the keys beside a queue are called; `docs/protocol.md` lists them."""


def queue_prefix(queue: str) -> str:
    """Return what the keys beside a list start with: the same hash slot as the list.

    `queue:images` → `{queue:images}:`; a list with its own tag keeps it: `q:{eu}` → `q:{eu}:`.
    As `{q}:` belongs to the list `q`, that of the list `{q}` is `{q}{q}:`.
    """
    if "}" not in queue:
        return f"{{{queue}}}:"
    alone = queue.startswith("{") and queue.endswith("}")
    return f"{queue * 2 if alone else queue}:"
