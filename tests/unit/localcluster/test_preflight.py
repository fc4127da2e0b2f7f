"""What is said about machines that cannot carry the cluster."""

from dataclasses import replace

import pytest

from localcluster.preflight import (
    NEEDED_BYTES,
    NEEDED_BYTES_WHEN_BUILT,
    Machine,
    problems,
)

GOOD = Machine(
    system="Linux",
    architecture="x86_64",
    is_root=True,
    can_sudo=False,
    free_bytes=NEEDED_BYTES,
    file_system="ext4",
    has_writable_cgroups=True,
    is_built=False,
    has_apt=True,
    has_missing_packages=True,
)


@pytest.mark.parametrize(
    "machine",
    [
        GOOD,
        replace(GOOD, is_root=False, can_sudo=True),
        replace(GOOD, architecture="aarch64"),
        replace(GOOD, is_built=True, free_bytes=NEEDED_BYTES_WHEN_BUILT),
        replace(GOOD, has_apt=False, has_missing_packages=False),
    ],
    ids=["root", "sudo", "arm", "little disk but built", "no apt but nothing missing"],
)
def test_a_machine_that_can_carry_the_cluster_has_no_problems(machine: Machine) -> None:
    assert problems(machine) == []


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        (replace(GOOD, system="Darwin"), "Darwin"),
        (replace(GOOD, architecture="riscv64"), "riscv64"),
        (replace(GOOD, is_root=False), "sudo"),
        (replace(GOOD, free_bytes=NEEDED_BYTES - 1), "free disk"),
        (replace(GOOD, is_built=True, free_bytes=NEEDED_BYTES_WHEN_BUILT - 1), "free disk"),
        (replace(GOOD, file_system="overlay"), "overlay"),
        (replace(GOOD, file_system="vboxsf"), "shared folder"),
        (replace(GOOD, has_writable_cgroups=False), "control groups"),
        (replace(GOOD, has_apt=False), "apt-get"),
    ],
)
def test_each_problem_names_its_cause_and_the_way_out(machine: Machine, word: str) -> None:
    (problem,) = problems(machine)
    assert word in problem
    assert "KUBECONFIG" in problem


def test_all_problems_are_told_at_once() -> None:
    machine = replace(GOOD, architecture="s390x", is_root=False, free_bytes=0)
    assert len(problems(machine)) == 3


def test_on_another_system_nothing_else_matters() -> None:
    assert len(problems(replace(GOOD, system="Darwin", is_root=False, free_bytes=0))) == 1
