# ruff: noqa: INP001  a command, not a package
"""Write what is derived: the copies of `crd.yaml`, and the plain manifests from the chart.

`python manifests/render.py` writes them. With `--check` it only says whether they differ from
what would be written (exit 1, with the difference). It knows helm and file names, no cluster.
"""

import argparse
import difflib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELM = ROOT / ".build" / "bin" / "helm"
CHART = ROOT / "charts" / "workerpool"
CRD = ROOT / "manifests" / "crd.yaml"
CRD_COPY = CHART / "files" / "crd.yaml"
SIMULATORS_COPY = ROOT / "simulator" / "src" / "workerpool_simulator" / "crd.yaml"
INSTALL = ROOT / "manifests" / "install.yaml"
SAMPLE = ROOT / "manifests" / "workerpool.yaml"

INSTALL_HEADER = """\
# The operator, its rights and the resource WorkerPool, for `kubectl apply -f`.
# Rendered from charts/workerpool by `python manifests/render.py`: change the chart, not this file.
#
# The two images are built from this repository and pushed to a registry of yours (see
# docs/install.md). Put its name in front of them:
#   sed -E 's#(workerpool-operator|image-worker):0#registry.example.org/team/\\1:0#' \\
#     manifests/install.yaml | kubectl apply -f -
apiVersion: v1
kind: Namespace
metadata:
  name: workerpool-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""

SAMPLE_HEADER = """\
# A sample to try the operator with: a pool, the volume of its photos, and a small Redis.
# It goes to whatever namespace kubectl points to. Install manifests/install.yaml first.
# Rendered from charts/workerpool by `python manifests/render.py`: change the chart, not this file.
#
# The password of this Redis stands below for everybody to read. Change it in both places before
# anything but a try; for production take a Redis of your own and keep only the first document.
"""

SAMPLE_PASSWORD = "change-me"  # noqa: S105  a published placeholder, and named so


def _install() -> str:
    words = ("--namespace=workerpool-system", "--set=redis.enabled=false")
    return INSTALL_HEADER + "".join(_documents("workerpool", *words))


def _sample() -> str:
    documents = _documents(
        "images",
        "--api-versions=workerpool.dev/v1alpha1/WorkerPool",
        "--set=samplePool.enabled=true",
        f"--set=redis.password={SAMPLE_PASSWORD}",
        "--show-only=templates/sample-pool.yaml",
        "--show-only=templates/redis.yaml",
    )
    # The pool comes first: it is what a reader looks for, and kubectl needs no order.
    documents.sort(key=lambda text: "\nkind: WorkerPool\n" not in text)
    # A template must name the release's namespace; a sample is better off in the reader's.
    return SAMPLE_HEADER + "".join(documents).replace("  namespace: default\n", "")


def _documents(release: str, *words: str) -> list[str]:
    """Return what helm renders, each document with its separator."""
    if not HELM.exists():
        raise SystemExit(f"{HELM} is missing; `make programs` builds it")
    done = subprocess.run(
        [HELM, "template", release, CHART, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return [f"---\n{text.strip()}\n" for text in done.stdout.split("---\n") if text.strip()]


def main() -> int:
    """Write or check the derived files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    check = parser.parse_args().check
    differing = 0
    # In this order: the chart that renders the others reads its copy of the CRD.
    for path, derive in (
        (CRD_COPY, CRD.read_text),
        (SIMULATORS_COPY, CRD.read_text),
        (INSTALL, _install),
        (SAMPLE, _sample),
    ):
        text = derive()
        written = path.read_text() if path.exists() else ""
        if written == text:
            continue
        differing += 1
        if check:
            sys.stderr.write(_difference(path, written, text))
        else:
            path.write_text(text)
    if check and differing:
        sys.stderr.write("\nDerived files are out of date: run `python manifests/render.py`.\n")
    return 1 if check and differing else 0


def _difference(path: Path, written: str, text: str) -> str:
    name = str(path.relative_to(ROOT))
    lines = difflib.unified_diff(
        written.splitlines(keepends=True), text.splitlines(keepends=True), name, "as rendered"
    )
    return "".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
