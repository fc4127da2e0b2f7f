"""What kind of machine this is: virtualisation, hardware threads, memory nodes.

It knows the texts the kernel shows in /sys and /proc, and reads them as a mapping from path to
text, so that every machine can be a table in a test; it must not know Redis, images, or what
follows for anybody.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

Texts = Mapping[str, str]
"""Absolute path → content; a file that cannot be read is absent."""

DMI: Final = "/sys/class/dmi/id/"
VENDORS: Final = tuple(
    DMI + name for name in ("product_name", "sys_vendor", "board_vendor", "bios_vendor")
)
CLOCKS: Final = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
HYPERVISOR: Final = "/sys/hypervisor/type"
DEVICE_TREE: Final = "/proc/device-tree/hypervisor/compatible"
CPU_INFO: Final = "/proc/cpuinfo"
CONTAINER: Final = "/run/systemd/container"
INIT_CGROUP: Final = "/proc/1/cgroup"
MOUNTS: Final = "/proc/self/mountinfo"
VZ: Final = "/proc/vz/version"
BC: Final = "/proc/bc/resources"
SINGLE: Final = (*VENDORS, CLOCKS, HYPERVISOR, DEVICE_TREE, CPU_INFO, CONTAINER, INIT_CGROUP)


class Kind(StrEnum):
    """What lies between this kernel's processor and the real one."""

    KVM = "kvm"
    VM = "vm"
    """Another hypervisor."""
    CONTAINER = "container"
    """The kernel itself is shared with strangers (OpenVZ, LXC): steal is invisible in there."""
    BARE_METAL = "bare-metal"


@dataclass(frozen=True, slots=True)
class Virtualisation:
    """The kind, and the product's name where there is one."""

    kind: Kind
    product: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.product}" if self.product else str(self.kind)


@dataclass(frozen=True, slots=True)
class Topology:
    """Which CPUs are hardware threads of one core, and which memory is near them."""

    siblings: Mapping[int, frozenset[int]] = field(default_factory=dict)
    nodes: Mapping[int, int] = field(default_factory=dict)

    def siblings_of(self, cpu: int) -> frozenset[int]:
        """Return the CPUs of the same physical core, itself included."""
        return self.siblings.get(cpu, frozenset({cpu}))


_PRODUCTS: Final = (
    # As systemd-detect-virt reads them; the first match in the order of VENDORS counts.
    ("KVM", Kind.KVM, ""),
    ("OpenStack", Kind.KVM, "openstack"),
    ("KubeVirt", Kind.KVM, "kubevirt"),
    ("Amazon EC2", Kind.KVM, "amazon"),
    ("Google Compute Engine", Kind.KVM, "google"),
    ("QEMU", Kind.VM, "qemu"),
    ("VMware", Kind.VM, "vmware"),
    ("VMW", Kind.VM, "vmware"),
    ("VirtualBox", Kind.VM, "oracle"),
    ("innotek GmbH", Kind.VM, "oracle"),
    ("Xen", Kind.VM, "xen"),
    ("Bochs", Kind.VM, "bochs"),
    ("Parallels", Kind.VM, "parallels"),
    ("BHYVE", Kind.VM, "bhyve"),
    ("Hyper-V", Kind.VM, "microsoft"),
    ("Virtual Machine", Kind.VM, "microsoft"),
    ("Apple Virtualization", Kind.VM, "apple"),
)
_CLOCKS: Final = (
    ("kvm-clock", Kind.KVM, ""),
    ("hyperv", Kind.VM, "microsoft"),
    ("xen", Kind.VM, "xen"),
)


def virtualisation(texts: Texts) -> Virtualisation:
    """Judge what this kernel runs on; a container engine on a kernel of our own is none."""
    product = _shared_kernel(texts)
    if product:
        return Virtualisation(Kind.CONTAINER, product)
    # The paravirtual clock tells KVM where QEMU's or a cloud's names hide it.
    by_clock = _found(texts.get(CLOCKS, ""), _CLOCKS)
    by_name = next(
        filter(None, (_found(texts.get(path, ""), _PRODUCTS) for path in VENDORS)), None
    )
    if by_clock and (by_name is None or by_clock.kind is Kind.KVM):
        name = by_name.product if by_name and by_name.product != "qemu" else ""
        return Virtualisation(by_clock.kind, by_clock.product or name)
    if by_name:
        return by_name
    if "kvm" in texts.get(DEVICE_TREE, ""):
        return Virtualisation(Kind.KVM)
    if hypervisor := texts.get(HYPERVISOR, "").strip():
        return Virtualisation(Kind.VM, hypervisor)
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", texts.get(CPU_INFO, ""), re.MULTILINE)
    return Virtualisation(Kind.VM if flags else Kind.BARE_METAL)


def topology(texts: Texts) -> Topology:
    """Read the hardware threads and the memory nodes."""
    siblings: dict[int, frozenset[int]] = {}
    nodes: dict[int, int] = {}
    for path, text in texts.items():
        if match := re.search(r"/cpu(\d+)/topology/thread_siblings_list$", path):
            siblings[int(match[1])] = parse_list(text)
        elif match := re.search(r"/node(\d+)/cpulist$", path):
            nodes |= dict.fromkeys(parse_list(text), int(match[1]))
    return Topology(siblings, nodes)


def parse_list(text: str) -> frozenset[int]:
    """Read the kernel's list of CPUs: `0-3,8`."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.strip():
            cpus |= set(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def write_list(cpus: Iterable[int]) -> str:
    """Write CPUs as the kernel does: `0-3,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def read_texts(root: Path = Path("/")) -> Texts:
    """Read all that tells of the virtualisation; what may not be read is left out."""
    return _read(root, (root / path.lstrip("/") for path in (*SINGLE, MOUNTS, VZ, BC)))


def read_topology(root: Path = Path("/")) -> Topology:
    """Read the topology of the CPUs that are plugged in now."""
    system = root / "sys/devices/system"
    threads = system.glob("cpu/cpu[0-9]*/topology/thread_siblings_list")
    return topology(_read(root, (*threads, *system.glob("node/node[0-9]*/cpulist"))))


def _read(root: Path, paths: Iterable[Path]) -> Texts:
    texts = {}
    for path in paths:
        try:
            texts[f"/{path.relative_to(root)}"] = path.read_text(errors="replace")
        except OSError:
            continue
    return texts


def _shared_kernel(texts: Texts) -> str:
    """Name what shares this kernel with strangers, if anything shows."""
    if VZ in texts and BC not in texts:  # the host of OpenVZ has both
        return "openvz"
    told = texts.get(CONTAINER, "").strip()
    if told in {"lxc", "lxc-libvirt", "openvz", "systemd-nspawn"}:
        return told
    if re.search(r":/lxc(\.payload)?[./]", texts.get(INIT_CGROUP, "")):
        return "lxc"
    mounts = texts.get(MOUNTS, "")
    # LXC shows its containers their own /proc through a file system of its own.
    # (Its host has that, too, but elsewhere.)
    own = re.search(r" /proc/\S+ .* - fuse\.lxcfs ", mounts)
    # A pod has a /proc as any other; but files of its kubelet are mounted there, and a mount tells
    # where on its file system it begins.
    pod = re.search(r"^\d+ \d+ \S+ (/\S*)?/rootfs/\S*/pods/[0-9a-f-]{36}/", mounts, re.MULTILINE)
    return "lxc" if own or pod else ""


def _found(text: str, products: tuple[tuple[str, Kind, str], ...]) -> Virtualisation | None:
    for words, kind, product in products:
        if words in text:
            return Virtualisation(kind, product)
    return None
