"""How much memory there is: for the container, for each child of it, and left for this one.

It knows cgroups and the kernel's limits; it must not know what the memory is for.
"""

import os
import resource
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
RESERVE = 64 << 20
"""For the supervisor, which takes 48 MB, and what the kernel holds on behalf of all."""
CARRIER = 64 << 20
"""For each process that carries photos to a decoding child."""
LEAST = 128 << 20
"""A child takes 48 MB of address space before its first photo."""
WITHOUT_LIMIT = 1024 << 20
"""What a child may take where nobody set a limit."""


def granted(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Return the bytes that this container may take before the kernel kills; None is no limit.

    A limit of any cgroup above ours counts too (v2: memory.max, v1: memory.limit_in_bytes).
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(cgroups / "memory", path, "memory.limit_in_bytes")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Version 1 writes "no limit" as a number that no machine has.
    return min((limit for limit in limits if limit < physical), default=None)


def share(total: int | None, children: int, *, carried: bool = False) -> int:
    """Return the address space each child may take, so that all together fit the container.

    What a process has in memory is never more than its address space.  With less than LEAST
    it could do nothing at all, so it gets that much; then the container is too small.
    """
    if total is None:
        return WITHOUT_LIMIT
    return max(LEAST, (total - RESERVE) // children - (CARRIER if carried else 0))


def worn(each: int, *, carried: bool = False) -> int:
    """Return the bytes beyond which a child, between two jobs, has kept too much for itself."""
    return each // 4 * 3 + (CARRIER if carried else 0)


def shortage(total: int | None, children: int, each: int, *, carried: bool = False) -> str | None:
    """Say what is wrong, and what to write instead, when all together do not fit the container."""
    wanted = RESERVE + children * (each + (CARRIER if carried else 0))
    if total is None or wanted <= total:
        return None
    return (
        f"the container may take {total >> 20} MB of memory, and {children} decoding "
        f"{'child' if children == 1 else 'children'} of {each >> 20} MB with what serves them may "
        f"take {wanted >> 20} MB: the kernel may kill them in the middle of a job. Write "
        f"spec.memory: {wanted >> 20}Mi or more (outside a pool: a higher limit), or give fewer "
        f"cores, or, if it is set to more than {LEAST >> 20}, a smaller "
        "WORKERPOOL_CHILD_MEMORY_MEGABYTES"
    )


def limit(most: int) -> None:
    """Have allocations beyond fail, in this process and for good, instead of the whole pod."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def go_first() -> None:
    """Ask the kernel, should memory run out all the same, to kill this process before others."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def room() -> int | None:
    """Return the bytes this process may still take; None is no limit."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return max(0, allowed - pages * resource.getpagesize())


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """Read the limit of a cgroup and of all above it.

    In a container the path may be the host's, which is not to be seen there: then what is
    mounted is our own cgroup.
    """
    group = mount / path.strip("/")
    groups = [group, *group.parents] if group.is_dir() else [mount]
    found = []
    for one in groups:
        if mount not in {one, *one.parents}:
            break
        try:
            text = (one / name).read_text().strip()
        except OSError:
            continue  # the root has no limit
        if text.isdecimal():  # else "max"
            found.append(int(text))
    return found
