"""Mount points as the kernel lists them."""

from pathlib import Path

import pytest

from localcluster import mounts
from localcluster.errors import LocalClusterError

TABLE = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
43 27 254:0 /run/netns /run/netns rw shared:1 - ext4 /dev/vda rw
44 27 0:5 / /home/a\040b/.cluster rw - tmpfs tmpfs rw
""".strip()


def test_a_folder_bound_onto_itself_and_a_blank_in_a_name_are_seen() -> None:
    assert mounts.parse(TABLE) == [Path("/"), Path("/run/netns"), Path("/home/a b/.cluster")]


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount() -> None:
    table = "overlay / overlay rw 0 0\n/dev/vda /home ext4 rw 0 0\n"
    assert mounts.file_system(Path("/home/me/clone"), table) == "ext4"
    assert mounts.file_system(Path("/homeless"), table) == "overlay"


def test_of_two_mounts_at_one_point_the_later_counts() -> None:
    table = "rootfs / rootfs rw 0 0\n/dev/vda / ext4 rw 0 0\n"
    assert mounts.file_system(Path("/anywhere"), table) == "ext4"


def test_a_folder_in_which_something_is_mounted_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "points", lambda: [Path("/state/volumes/v")])
    with pytest.raises(LocalClusterError, match="/state/volumes/v"):
        mounts.refuse_below(Path("/state"))
    mounts.refuse_below(Path("/stateless"))
