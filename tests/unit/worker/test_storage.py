import os
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from image_worker import storage
from image_worker.errors import JobError, RejectedJob, TransientFailure

P = PurePosixPath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def read(root: Path, path: str, max_bytes: int = 1000) -> bytes:
    return storage.read(root, P(path), max_bytes=max_bytes)


def test_what_was_written_is_read(root: Path) -> None:
    storage.write(root, P("a/b/c.jpg"), b"picture")
    assert read(root, "a/b/c.jpg") == b"picture"


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(root: Path) -> None:
    storage.write(root, P("a.jpg"), b"a longer first version")
    storage.write(root, P("a.jpg"), b"second")
    assert read(root, "a.jpg") == b"second"
    assert [entry.name for entry in root.iterdir()] == ["a.jpg"]


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    storage.write(link, P("a.jpg"), b"x")
    assert read(root, "a.jpg") == b"x"


def test_thumbnails_are_readable_by_the_web_server(root: Path) -> None:
    old = os.umask(0o022)
    try:
        storage.write(root, P("a/b.jpg"), b"x")
    finally:
        os.umask(old)
    assert (root / "a/b.jpg").stat().st_mode & 0o777 == 0o644
    assert (root / "a").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/hostname"])
def test_no_path_leads_out_even_if_nobody_checked_it_before(root: Path, path: str) -> None:
    (root / "a").mkdir()
    with pytest.raises(JobError) as caught:
        read(root, path)
    assert isinstance(caught.value, RejectedJob)
    with pytest.raises(RejectedJob):
        storage.write(root, P(path), b"overwritten")
    assert (root.parent / "secret").read_bytes() == b"secret"


@pytest.fixture
def links(root: Path, tmp_path: Path) -> None:
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    (root / "inner").mkdir()
    (root / "inner" / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize(
    "path", ["file-link", "folder-link/secret", "inner/up/../secret", "loop", "loop/a"]
)
def test_symbolic_links_are_not_followed_when_reading(root: Path, path: str) -> None:
    with pytest.raises(RejectedJob) as caught:
        read(root, path)
    assert caught.value.reason == "BadFilename"


@pytest.mark.usefixtures("links")
def test_a_link_in_the_place_of_the_output_is_replaced_not_followed(
    root: Path, tmp_path: Path
) -> None:
    storage.write(root, P("file-link"), b"thumbnail")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert not (root / "file-link").is_symlink()


@pytest.mark.usefixtures("links")
def test_a_linked_output_folder_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RejectedJob):
        storage.write(root, P("folder-link/secret"), b"overwritten")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_missing_file_may_still_come(root: Path) -> None:
    with pytest.raises(TransientFailure, match=r"a/b\.jpg does not exist") as caught:
        read(root, "a/b.jpg")
    assert caught.value.reason == "MissingFile"


def test_a_missing_root_says_that_the_volume_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TransientFailure, match="is its volume mounted") as caught:
        read(tmp_path / "nothing", "a.jpg")
    assert caught.value.reason == "MissingFolder"
    with pytest.raises(TransientFailure, match="is its volume mounted"):
        storage.write(tmp_path / "nothing" / "out", P("a.jpg"), b"x")
    assert not (tmp_path / "nothing").exists()


def test_the_output_folder_of_a_new_volume_is_made(tmp_path: Path) -> None:
    storage.write(tmp_path / "out", P("a.jpg"), b"x")
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"x"


def test_folders_and_pipes_are_no_files(root: Path) -> None:
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(RejectedJob) as caught:
            read(root, name)
        assert caught.value.reason == "NotAFile"


def test_a_file_on_the_way_is_no_folder(root: Path) -> None:
    (root / "a").write_bytes(b"")
    with pytest.raises(RejectedJob):
        read(root, "a/b.jpg")
    with pytest.raises(RejectedJob):
        storage.write(root, P("a/b.jpg"), b"x")


def test_a_large_file_is_refused_before_it_is_read(root: Path) -> None:
    with (root / "huge").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(RejectedJob, match="1099511627776 bytes; 1000 are the most"):
        read(root, "huge")


def test_an_output_in_the_place_of_a_folder_fails_and_leaves_nothing(root: Path) -> None:
    (root / "a.jpg").mkdir()
    with pytest.raises(RejectedJob):
        storage.write(root, P("a.jpg"), b"x")
    assert [entry.name for entry in root.iterdir()] == ["a.jpg"]


def test_a_full_volume_is_worth_a_retry_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransientFailure, match="No space left on device") as caught:
        storage.write(root, P("a.jpg"), b"x")
    assert caught.value.reason == "Storage"
    assert list(root.iterdir()) == []


def test_leftovers_of_a_crash_can_be_told_by_their_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    def power_cut(*_: object, **__: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(os, "replace", power_cut)
    monkeypatch.setattr(os, "unlink", power_cut)
    with pytest.raises(PowerCutError):
        storage.write(root, P("a.jpg"), b"x")
    (left,) = root.iterdir()
    assert left.name.startswith(storage.PARTIAL_PREFIX)
    assert left.name.endswith(storage.PARTIAL_SUFFIX)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is asked of the kernel, in order: what is fsynced, by its name, and the rest."""
    noted: list[str] = []
    fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

    def noted_fsync(file: int) -> None:
        name = Path(f"/proc/self/fd/{file}").readlink().name
        noted.append("fsync file" if name.endswith(storage.PARTIAL_SUFFIX) else f"fsync {name}")
        fsync(file)

    def noted_replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        noted.append("replace")
        replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def noted_mkdir(name: str, mode: int, *, dir_fd: int | None = None) -> None:
        noted.append(f"mkdir {name}")
        mkdir(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "mkdir", noted_mkdir)
    return noted


def test_a_file_is_on_disk_before_its_name_is_and_its_name_before_we_return(
    root: Path, calls: list[str]
) -> None:
    (root / "a").mkdir()
    calls.clear()
    storage.write(root, P("a/b.jpg"), b"x")
    assert calls[-3:] == ["fsync file", "replace", "fsync a"]


def test_a_folder_that_is_made_is_on_disk_before_what_is_in_it(
    root: Path, calls: list[str]
) -> None:
    storage.write(root, P("a/b/c.jpg"), b"x")
    start = calls.index("mkdir a")
    assert calls[start:] == [
        "mkdir a",
        "fsync root",
        "mkdir b",
        "fsync a",
        "fsync file",
        "replace",
        "fsync b",
    ]


def test_a_folder_that_another_has_just_made_is_on_disk_too(
    root: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def overtaken(name: str, mode: int, *, dir_fd: int | None = None) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        if name == "a":  # and whoever made it has yet to fsync
            raise FileExistsError

    monkeypatch.setattr(os, "mkdir", overtaken)
    storage.write(root, P("a/b.jpg"), b"x")
    assert calls[calls.index("mkdir a") :] == [
        "mkdir a",
        "fsync root",
        "fsync file",
        "replace",
        "fsync a",
    ]


MINUTE = timedelta(minutes=1)


def left(root: Path, name: str, *, seconds_ago: float) -> Path:
    """Leave a file whose writer stopped so long ago, by the volume's clock."""
    file = root / name
    file.write_bytes(b"half a pict")
    now = file.stat().st_mtime
    os.utime(file, (now - seconds_ago, now - seconds_ago))
    return file


def partial(word: str) -> str:
    return f"{storage.PARTIAL_PREFIX}{word}{storage.PARTIAL_SUFFIX}"


def test_what_a_crash_left_is_swept_and_what_is_being_written_is_not(root: Path) -> None:
    (root / "a").mkdir()
    old = left(root / "a", partial("old"), seconds_ago=70)
    kept = [
        left(root / "a", partial("fresh"), seconds_ago=50),
        left(root / "a", partial("ahead"), seconds_ago=-500),
        left(root / "a", "photo.jpg", seconds_ago=9999),
        left(root / "a", ".image-worker-notes", seconds_ago=9999),
        left(root, partial("elsewhere"), seconds_ago=9999),
    ]
    storage.write(root, P("a/b.jpg"), b"x", sweeper=storage.Sweeper(MINUTE))
    assert not old.exists()
    assert all(file.exists() for file in kept)
    assert read(root, "a/b.jpg") == b"x"


def test_each_folder_is_swept_once(root: Path) -> None:
    sweeper = storage.Sweeper(MINUTE)
    storage.write(root, P("a.jpg"), b"x", sweeper=sweeper)
    late = left(root, partial("late"), seconds_ago=70)
    storage.write(root, P("b.jpg"), b"x", sweeper=sweeper)
    assert late.exists()
    storage.write(root, P("c.jpg"), b"x", sweeper=storage.Sweeper(MINUTE))
    assert not late.exists()


def test_the_folders_known_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FOLDERS_KNOWN", 2)
    sweeper = storage.Sweeper(MINUTE)
    for name in ("a", "b", "c"):
        storage.write(root, P(f"{name}/x.jpg"), b"x", sweeper=sweeper)
    late = left(root / "a", partial("late"), seconds_ago=70)
    storage.write(root, P("a/y.jpg"), b"x", sweeper=sweeper)
    assert not late.exists()


def test_what_cannot_be_swept_does_not_fail_the_job(root: Path) -> None:
    folder = root / partial("folder")
    folder.mkdir()
    os.utime(folder, (0, 0))
    (root / partial("link")).symlink_to("/nowhere")
    storage.write(root, P("a.jpg"), b"x", sweeper=storage.Sweeper(MINUTE))
    assert read(root, "a.jpg") == b"x"
    assert folder.exists()


def test_a_writer_that_was_frozen_for_so_long_fails_and_is_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def thawed(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.unlink(source, dir_fd=src_dir_fd)  # others have swept meanwhile
        replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", thawed)
    with pytest.raises(TransientFailure):
        storage.write(root, P("a.jpg"), b"x")
    assert list(root.iterdir()) == []
