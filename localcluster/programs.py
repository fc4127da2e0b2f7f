"""Build the cluster's programs from the Go modules that `go/` pins, and a Go that is new enough.

Each folder below `go/` is a module: its go.mod names the versions, its go.sum their contents. A
program is built again only if its module, or the toolchain, changed.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from localcluster import locks
from localcluster.commands import run, run_logged
from localcluster.errors import CommandFailed, Unsupported
from localcluster.layout import Layout

_BUILD_SECONDS = 3600
_TOOLCHAIN = Path("locks/go.txt")
"""The Go toolchain as a Python package: for machines whose own is missing or too old."""


@dataclass(frozen=True)
class Program:
    """One binary: the module that pins it, the package to build, and the names it answers to."""

    name: str
    package: str
    pinned_by: str
    """The module whose version is the program's."""
    version_variables: tuple[str, ...] = ()
    """What the linker sets, so that a program knows its version without its release scripts."""
    links: tuple[str, ...] = ()


PROGRAMS = (
    Program(
        "kubernetes",
        package=".",
        pinned_by="k8s.io/kubernetes",
        version_variables=(
            "k8s.io/component-base/version.git",
            "k8s.io/client-go/pkg/version.git",
        ),
        links=(
            "etcd",
            "kubectl",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubelet",
        ),
    ),
    Program(
        "helm",
        package="helm.sh/helm/v4/cmd/helm",
        pinned_by="helm.sh/helm/v4",
        version_variables=("helm.sh/helm/v4/internal/version.version",),
    ),
    Program(
        "coredns", package="github.com/coredns/coredns", pinned_by="github.com/coredns/coredns"
    ),
    Program(
        "kwok",
        package="sigs.k8s.io/kwok/cmd/kwok",
        pinned_by="sigs.k8s.io/kwok",
        version_variables=("sigs.k8s.io/kwok/pkg/consts.Version",),
    ),
)


def build(layout: Layout) -> None:
    """Build every program that is missing or out of date."""
    layout.programs.mkdir(parents=True, exist_ok=True)
    with locks.held(
        layout.programs,
        timeout_seconds=_BUILD_SECONDS,
        otherwise="another build of the programs is still at work; end it and try again",
    ):
        _build_pending(layout)


def _build_pending(layout: Layout) -> None:
    pending = [each for each in PROGRAMS if not is_current(layout, each)]
    if not pending:
        return
    go = _toolchain(layout)
    for program in pending:
        print(f"  building {program.name} (minutes the first time) …", flush=True)
        _build(layout, program, go)
        _stamp(layout, program).write_text(fingerprint(layout.sources / program.name))


def is_current(layout: Layout, program: Program) -> bool:
    """Tell whether a program was built from the module as it is now."""
    stamp = _stamp(layout, program)
    names = (program.name, *program.links)
    return (
        all((layout.programs / name).exists() for name in names)
        and stamp.exists()
        and stamp.read_text() == fingerprint(layout.sources / program.name)
    )


def fingerprint(module: Path) -> str:
    """Return a digest of a module's files."""
    digest = hashlib.sha256()
    for path in sorted(module.iterdir()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def linker_flags(program: Program, version: str) -> str:
    """Render `-ldflags`: no symbol tables, and the version that was built.

    Kubernetes' components compare major and minor, so that they get all three of its variables.
    """
    major, minor, _ = version.removeprefix("v").split(".", 2)
    flags = ["-s", "-w"]
    for variable in program.version_variables:
        if variable.endswith(".git"):
            parts = {"Version": version, "Major": major, "Minor": minor}
            flags += [f"-X={variable}{part}={value}" for part, value in parts.items()]
        else:
            flags += [f"-X={variable}={version}"]
    return " ".join(flags)


def pinned_version(go_mod: str, module: str) -> str:
    """Read the version of a module that a go.mod requires."""
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise CommandFailed(f"go.mod does not require {module}")
    return found[1]


def needed_go(module: Path) -> tuple[int, ...]:
    """Read the Go version that a module asks for."""
    found = re.search(
        r"^go (\d+)\.(\d+)(?:\.(\d+))?", (module / "go.mod").read_text(), re.MULTILINE
    )
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def _build(layout: Layout, program: Program, go: Path) -> None:
    module = layout.sources / program.name
    version = pinned_version((module / "go.mod").read_text(), program.pinned_by)
    draft = layout.programs / f"{program.name}.new"
    run_logged(
        [
            *(str(go), "build", "-trimpath", "-mod=readonly", "-buildvcs=false"),
            *("-ldflags", linker_flags(program, version), "-o", str(draft), program.package),
        ],
        layout.build / "logs" / f"{program.name}.log",
        timeout_seconds=_BUILD_SECONDS,
        environment={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"},
        folder=module,
    )
    # Renamed, not overwritten: the old program may be running.
    draft.replace(layout.programs / program.name)
    for link in program.links:
        path = layout.programs / link
        path.unlink(missing_ok=True)
        path.symlink_to(program.name)


def _stamp(layout: Layout, program: Program) -> Path:
    return layout.programs / f".{program.name}.built-from"


def _toolchain(layout: Layout) -> Path:
    """Return a Go that can build every module: this machine's, or one from the package index."""
    needed = max(needed_go(layout.sources / each.name) for each in PROGRAMS)
    private = layout.build / "go" / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), private):
        if candidate and Path(candidate).exists() and _go_version(Path(candidate)) >= needed:
            return Path(candidate)
    print(f"  getting Go {'.'.join(map(str, needed))} or newer …", flush=True)
    shutil.rmtree(layout.build / "go", ignore_errors=True)
    pip = layout.build / "pip"
    run(["python3", "-m", "venv", pip], timeout_seconds=120)
    run(
        [
            *(pip / "bin" / "pip", "install", "--quiet", "--require-hashes"),
            *("--target", layout.build / "go", "-r", layout.checkout / _TOOLCHAIN),
        ],
        timeout_seconds=600,
    )
    if not private.exists():
        raise Unsupported(
            f"no Go for this machine in {_TOOLCHAIN}: install Go {'.'.join(map(str, needed))} or "
            "newer and put it on PATH"
        )
    private.chmod(0o755)
    return private


def _go_version(go: Path) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", run([go, "version"], environment=_LOCAL))
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


_LOCAL = {"GOTOOLCHAIN": "local"}
