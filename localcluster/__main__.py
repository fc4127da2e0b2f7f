"""The command line: `python3 -m localcluster VERB`.

Verbs that need root run themselves again through sudo when called by somebody else.
"""

import argparse
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

from localcluster import cluster, growth, images, packages, preflight, programs, report
from localcluster.errors import LocalClusterError
from localcluster.layout import Layout
from localcluster.roster import Kind

_AS_ROOT = (
    *("up", "down", "clean", "add-node", "remove-node"),
    *("load-image", "build-images", "install-packages"),
)
_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)


def main(words: list[str]) -> int:
    """Carry out one verb; return the exit status."""
    arguments = _parser().parse_args(words)
    # Debian keeps sbin from the PATH of people, and `su` from that of root.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    layout = Layout(Path(__file__).resolve().parent.parent)
    try:
        if arguments.verb in _AS_ROOT and os.geteuid() != 0:
            preflight.check_sudo()
            return _again_with_sudo(words)
        return _carry_out(arguments, layout)
    except LocalClusterError as error:
        print(f"localcluster: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _FULL:
            raise
        print(f"localcluster: {error}; make room and run it again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("localcluster: interrupted; `up` starts over, `down` cleans up", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcluster", description=sys.modules[__name__].__doc__
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("preflight", help="say whether this machine can carry the cluster")
    install = verbs.add_parser("install-packages", help="install Debian's packages if missing")
    install.add_argument("--for-tests", action="store_true", help="those of the tests, too")
    verbs.add_parser("build", help="build the programs that are missing or out of date")
    images = verbs.add_parser("build-images", help="build the images whose inputs changed")
    images.add_argument("--push", metavar="REPOSITORY", help="and copy them there")
    verbs.add_parser("up", help="start the cluster, or what of it does not run")
    down = verbs.add_parser("down", help="end the cluster and leave nothing of it")
    down.add_argument(
        "--whoever-owns-it", action="store_true", help="even if another checkout started it"
    )
    add = verbs.add_parser("add-node", help="start one node more, without images; print its name")
    add.add_argument(
        "--kind",
        type=Kind,
        choices=list(Kind),
        default=Kind.PLAIN,
        help="siblings: its kubelet takes two processors for the threads of one core",
    )
    remove = verbs.add_parser("remove-node", help="take a node away that was added")
    remove.add_argument("name", metavar="NODE")
    verbs.add_parser("status", help="say what runs; 0 if all of it does")
    load = verbs.add_parser("load-image", help="give images to every node")
    load.add_argument("archives", nargs="+", type=Path, metavar="TAR")
    verbs.add_parser("clean", help="down, and remove what was built")
    return parser


def _carry_out(arguments: argparse.Namespace, layout: Layout) -> int:
    match arguments.verb:
        case "preflight":
            preflight.check(layout)
            print("this machine can carry a local cluster")
        case "install-packages":
            preflight.check(layout)
            also = packages.FOR_TESTS if arguments.for_tests else ()
            packages.install(layout, (*packages.PACKAGES, *also))
        case "build":
            programs.build(layout)
        case _:
            return _change_cluster(arguments, layout)
    return 0


def _change_cluster(arguments: argparse.Namespace, layout: Layout) -> int:
    match arguments.verb:
        case "up":
            preflight.check(layout)
            cluster.up(layout)
            print(report.access(layout))
        case "down":
            cluster.down(layout, whoever_owns_it=arguments.whoever_owns_it)
            images.forget_interrupted(layout)
        case "clean":
            cluster.down(layout)
            images.remove_all(layout)
        case "add-node":
            print(growth.add(layout, arguments.kind))
        case "remove-node":
            growth.remove(layout, arguments.name)
        case "load-image":
            cluster.load_images(layout, arguments.archives)
        case "build-images":
            index = images.build(layout)
            print(report.sizes(index))
            if arguments.push:
                print("\n".join(images.push(layout, index, arguments.push)))
        case "status":
            status = cluster.inspect(layout)
            print(report.status(layout, status))
            return 0 if status.is_whole else 1
        case verb:
            raise AssertionError(f"{verb} is parsed and not carried out")
    return 0


def _again_with_sudo(words: list[str]) -> int:
    """Run the same verb as root, in the same environment: it says how to reach package indexes."""
    search = f"PATH={os.environ['PATH']}"
    command = [sys.executable, "-m", "localcluster", *words]
    # The terminal's Ctrl-C reaches the child too: let the child answer it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call(
        ["sudo", "--non-interactive", "--preserve-env", "env", search, *command],
        cwd=Path(__file__).resolve().parent.parent,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
