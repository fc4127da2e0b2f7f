"""Which node owns which processors; pure but for one reader of /sys."""

from pathlib import Path


def parse_list(text: str) -> frozenset[int]:
    """Read the kernel's list format: `0-2,5` is {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def render_list(cpus: frozenset[int]) -> str:
    """Write the kernel's list format, without ranges."""
    return ",".join(str(cpu) for cpu in sorted(cpus))


def split(cores: list[frozenset[int]], nodes: int) -> list[frozenset[int]]:
    """Give each node its own processors, as many as the others have.

    `cores` are sets of sibling hardware threads: a core is never shared by two nodes, unless there
    are fewer cores than nodes, when threads are dealt out one by one. What does not divide evenly
    is nobody's and stays with the system. With fewer threads than nodes no node owns any.
    """
    ordered = sorted(cores, key=min)
    if len(ordered) < nodes:
        ordered = [frozenset({cpu}) for cpu in sorted(frozenset().union(*cores))]
    share = len(ordered) // nodes
    if share == 0:
        return [frozenset()] * nodes
    # Processor 0 serves most interrupts: the remainder is taken from the front.
    spare = len(ordered) - share * nodes
    parts = [ordered[spare + share * i : spare + share * (i + 1)] for i in range(nodes)]
    return [frozenset().union(*part) for part in reversed(parts)]


def online_cores(devices: Path = Path("/sys/devices/system/cpu")) -> list[frozenset[int]]:
    """Read this machine's cores, each as the set of its online threads."""
    online = parse_list((devices / "online").read_text())
    return list(
        {
            parse_list((devices / f"cpu{cpu}/topology/thread_siblings_list").read_text()) & online
            for cpu in online
        }
    )
