from pathlib import Path

import pytest

from image_worker import machine
from image_worker.machine import Kind, Topology, Virtualisation, topology, virtualisation

VM_FLAGS = "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n"
PLAIN_FLAGS = "processor : 0\nflags\t\t: fpu vme lahf_lm\nbugs\t\t: hypervisor\n"
LXCFS = "412 409 0:56 /proc/stat /proc/stat rw,nosuid - fuse.lxcfs lxcfs rw,user_id=0\n"
HOSTS = (
    "1571 1570 253:1 {}/var/lib/kubelet/pods/6f2b0f4e-8a5c-4b43-9f0e-0d9a8f7b6c5d/etc-hosts "
    "/etc/hosts rw,relatime - ext4 /dev/vda1 rw\n"
)
DMI = "/sys/class/dmi/id/"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param({}, Virtualisation(Kind.BARE_METAL), id="nothing to be read"),
        pytest.param(
            {
                f"{DMI}sys_vendor": "Dell Inc.\n",
                f"{DMI}product_name": "PowerEdge R650\n",
                machine.CLOCKS: "tsc hpet acpi_pm \n",
                machine.CPU_INFO: PLAIN_FLAGS,
            },
            Virtualisation(Kind.BARE_METAL),
            id="a server",
        ),
        pytest.param(
            {
                f"{DMI}sys_vendor": "QEMU\n",
                f"{DMI}product_name": "Standard PC (Q35 + ICH9, 2009)\n",
                machine.CLOCKS: "kvm-clock tsc acpi_pm \n",
                machine.CPU_INFO: VM_FLAGS,
            },
            Virtualisation(Kind.KVM),
            id="QEMU on KVM",
        ),
        pytest.param(
            {f"{DMI}sys_vendor": "QEMU\n", machine.CLOCKS: "tsc hpet acpi_pm \n"},
            Virtualisation(Kind.VM, "qemu"),
            id="QEMU that emulates",
        ),
        pytest.param({f"{DMI}product_name": "KVM\n"}, Virtualisation(Kind.KVM), id="oVirt"),
        pytest.param(
            {machine.CLOCKS: "kvm-clock tsc \n", machine.CPU_INFO: VM_FLAGS},
            Virtualisation(Kind.KVM),
            id="a micro-VM without DMI",
        ),
        pytest.param(
            {f"{DMI}sys_vendor": "Amazon EC2\n", machine.CLOCKS: "kvm-clock tsc \n"},
            Virtualisation(Kind.KVM, "amazon"),
            id="EC2 Nitro",
        ),
        pytest.param(
            {f"{DMI}product_name": "Google Compute Engine\n"},
            Virtualisation(Kind.KVM, "google"),
            id="GCE",
        ),
        pytest.param(
            {f"{DMI}product_name": "OpenStack Nova\n"},
            Virtualisation(Kind.KVM, "openstack"),
            id="OpenStack",
        ),
        pytest.param(
            {
                f"{DMI}sys_vendor": "VMware, Inc.\n",
                f"{DMI}product_name": "VMware Virtual Platform\n",
                machine.CPU_INFO: VM_FLAGS,
            },
            Virtualisation(Kind.VM, "vmware"),
            id="VMware",
        ),
        pytest.param(
            {
                f"{DMI}sys_vendor": "Microsoft Corporation\n",
                f"{DMI}product_name": "Virtual Machine\n",
                machine.CLOCKS: "hyperv_clocksource_tsc_page acpi_pm \n",
            },
            Virtualisation(Kind.VM, "microsoft"),
            id="Hyper-V",
        ),
        pytest.param(
            {f"{DMI}sys_vendor": "Microsoft Corporation\n", f"{DMI}product_name": "Surface\n"},
            Virtualisation(Kind.BARE_METAL),
            id="a computer of the same vendor",
        ),
        pytest.param(
            {machine.HYPERVISOR: "xen\n"}, Virtualisation(Kind.VM, "xen"), id="Xen, paravirtual"
        ),
        pytest.param(
            {f"{DMI}sys_vendor": "Xen\n", f"{DMI}product_name": "HVM domU\n"},
            Virtualisation(Kind.VM, "xen"),
            id="Xen, full",
        ),
        pytest.param(
            {f"{DMI}sys_vendor": "innotek GmbH\n", machine.CLOCKS: "kvm-clock tsc \n"},
            Virtualisation(Kind.KVM, "oracle"),
            id="VirtualBox on KVM",
        ),
        pytest.param(
            {machine.DEVICE_TREE: "linux,kvm\0"}, Virtualisation(Kind.KVM), id="KVM on ARM"
        ),
        pytest.param({machine.CPU_INFO: VM_FLAGS}, Virtualisation(Kind.VM), id="some hypervisor"),
        pytest.param(
            {machine.VZ: "1\n", f"{DMI}product_name": "KVM\n"},
            Virtualisation(Kind.CONTAINER, "openvz"),
            id="OpenVZ",
        ),
        pytest.param(
            {machine.VZ: "1\n", machine.BC: "Version: 2.5\n"},
            Virtualisation(Kind.BARE_METAL),
            id="the host of OpenVZ",
        ),
        pytest.param(
            {machine.CONTAINER: "lxc\n"}, Virtualisation(Kind.CONTAINER, "lxc"), id="LXC"
        ),
        pytest.param(
            {machine.INIT_CGROUP: "0::/lxc.payload.web/init.scope\n"},
            Virtualisation(Kind.CONTAINER, "lxc"),
            id="LXC seen in its cgroup",
        ),
        pytest.param(
            {machine.MOUNTS: LXCFS, machine.CLOCKS: "kvm-clock tsc \n"},
            Virtualisation(Kind.CONTAINER, "lxc"),
            id="LXC seen in its /proc",
        ),
        pytest.param(
            {machine.MOUNTS: LXCFS.replace("/proc/stat", "/var/lib/lxcfs")},
            Virtualisation(Kind.BARE_METAL),
            id="the host of LXC",
        ),
        pytest.param(
            {machine.MOUNTS: HOSTS.format("/var/lib/lxc/node-3/rootfs")},
            Virtualisation(Kind.CONTAINER, "lxc"),
            id="a pod in LXC",
        ),
        pytest.param(
            {machine.MOUNTS: HOSTS.format("/rootfs")},
            Virtualisation(Kind.CONTAINER, "lxc"),
            id="a pod in LXC with a volume of its own",
        ),
        pytest.param(
            {machine.MOUNTS: HOSTS.format("") + HOSTS.format("/ostree/deploy/os")},
            Virtualisation(Kind.BARE_METAL),
            id="pods elsewhere",
        ),
        pytest.param(
            {machine.CONTAINER: "docker\n", machine.INIT_CGROUP: "0::/kubepods/pod1/c\n"},
            Virtualisation(Kind.BARE_METAL),
            id="a pod on a kernel of our own",
        ),
    ],
)
def test_the_machine_is_known_by_what_its_kernel_shows(
    texts: dict[str, str], expected: Virtualisation
) -> None:
    assert virtualisation(texts) == expected


def test_hardware_threads_and_memory_nodes_are_read() -> None:
    cpu, node = "/sys/devices/system/cpu/cpu", "/sys/devices/system/node/node"
    read = topology(
        {
            f"{cpu}0/topology/thread_siblings_list": "0,2\n",
            f"{cpu}2/topology/thread_siblings_list": "0,2\n",
            f"{cpu}1/topology/thread_siblings_list": "1,3\n",
            f"{node}0/cpulist": "0-1\n",
            f"{node}1/cpulist": "2-3\n",
        }
    )
    assert read.siblings_of(2) == {0, 2}
    assert read.siblings_of(7) == {7}, "where nothing is known a CPU is a core"
    assert read.nodes == {0: 0, 1: 0, 2: 1, 3: 1}
    assert topology({}) == Topology()


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", set()), ("\n", set()), ("3", {3}), ("0-3,8", {0, 1, 2, 3, 8}), ("0,2", {0, 2})],
)
def test_lists_of_cpus_are_read_and_written_as_the_kernel_does(text: str, cpus: set[int]) -> None:
    assert machine.parse_list(text) == cpus
    assert machine.write_list(cpus) == text.strip()


def test_only_what_is_there_is_read(tmp_path: Path) -> None:
    for name, text in (
        ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3\n"),
        ("sys/devices/system/node/node0/cpulist", "3\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.read_texts(tmp_path) == {f"{DMI}sys_vendor": "QEMU\n"}
    assert machine.read_topology(tmp_path) == Topology({3: frozenset({3})}, {3: 0})


def test_this_machine_can_be_read() -> None:
    texts = machine.read_texts()
    assert virtualisation(texts).kind in Kind
    assert machine.read_topology().siblings
