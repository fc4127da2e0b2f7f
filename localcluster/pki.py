"""Keys, certificates and kubeconfigs: who may call whom.

Everything is signed by one authority that lives and dies with the cluster. Each component has an
identity of its own, so that RBAC and the Node authorizer mean here what they mean elsewhere.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster import addresses
from localcluster.commands import run
from localcluster.files import write_whole

_DAYS = "3650"


@dataclass(frozen=True)
class Identity:
    """A certificate: what it is called, whom it names, and for which addresses it may serve."""

    name: str
    user: str
    groups: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The X.509 subject: Kubernetes reads groups from O and the user from CN."""
        return "".join(f"/O={group}" for group in self.groups) + f"/CN={self.user}"

    @property
    def extensions(self) -> str:
        """The extensions file that openssl reads."""
        lines = ["keyUsage=critical,digitalSignature"]
        if self.serves:
            names = ",".join(
                f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in self.serves
            )
            lines += ["extendedKeyUsage=serverAuth", f"subjectAltName={names}"]
        else:
            lines += ["extendedKeyUsage=clientAuth"]
        return "\n".join(lines) + "\n"


def identities(nodes: Sequence[str], node_addresses: Sequence[str]) -> list[Identity]:
    """List every certificate of a cluster with these nodes."""
    api = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{addresses.CLUSTER_DOMAIN}",
        str(addresses.CONTROL_PLANE),
        str(addresses.API_SERVICE),
        "127.0.0.1",
    )
    clients = [
        Identity("admin", "admin", groups=("system:masters",)),
        Identity("kube-apiserver-kubelet", "kube-apiserver-kubelet"),
        *(
            Identity(name, f"system:{name}")
            for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy")
        ),
        Identity("coredns", "localcluster:coredns"),
        Identity("provisioner", "localcluster:provisioner"),
    ]
    kubelets = [Identity(node, f"system:node:{node}", groups=("system:nodes",)) for node in nodes]
    serving = [
        Identity(f"{node}-serving", node, serves=(node, address))
        for node, address in zip(nodes, node_addresses, strict=True)
    ]
    return [
        Identity("kube-apiserver", "kube-apiserver", serves=api),
        *clients,
        *kubelets,
        *serving,
    ]


def ensure(folder: Path, wanted: Sequence[Identity]) -> None:
    """Make the authority and every certificate and kubeconfig that does not exist yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _ensure_authority(folder)
    for identity in wanted:
        if not (folder / f"{identity.name}.crt").exists():
            _sign(folder, identity)
        if not identity.serves:
            write_private(
                folder / f"{identity.name}.kubeconfig", kubeconfig(folder, identity.name)
            )


def kubeconfig(folder: Path, name: str) -> str:
    """Render the kubeconfig of one identity, complete in one file; JSON, which is YAML."""

    def embedded(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    server = f"https://{addresses.CONTROL_PLANE}:{addresses.API_PORT}"
    authority = {"server": server, "certificate-authority-data": embedded("ca.crt")}
    user = {
        "client-certificate-data": embedded(f"{name}.crt"),
        "client-key-data": embedded(f"{name}.key"),
    }
    context = {"cluster": "localcluster", "user": name}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "localcluster", "cluster": authority}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "localcluster", "context": context}],
        "current-context": "localcluster",
    }
    return json.dumps(document, indent=2) + "\n"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    write_whole(path, text, mode=0o600)


def _ensure_authority(folder: Path) -> None:
    if not (folder / "ca.crt").exists():
        _make_key(folder / "ca.key")
        run(
            [
                *("openssl", "req", "-x509", "-new", "-key", folder / "ca.key"),
                *("-out", folder / "ca.crt.new", "-days", _DAYS, "-subj", "/CN=localcluster"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            ]
        )
        (folder / "ca.crt.new").replace(folder / "ca.crt")
    if not (folder / "service-accounts.pub").exists():
        _make_key(folder / "service-accounts.key")
        public = run(["openssl", "pkey", "-in", folder / "service-accounts.key", "-pubout"])
        (folder / "service-accounts.pub").write_text(public)


def _make_key(path: Path) -> None:
    run(
        [
            *("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-out", path),
        ]
    )
    path.chmod(0o600)


def _sign(folder: Path, identity: Identity) -> None:
    """Make a key and its certificate; the certificate appears last, and complete."""
    stem = folder / identity.name
    key, draft, extensions = (
        stem.with_name(f"{stem.name}.{end}") for end in ("key", "new", "ext")
    )
    _make_key(key)
    request = run(["openssl", "req", "-new", "-key", key, "-subj", identity.subject])
    extensions.write_text(identity.extensions)
    run(
        [
            *("openssl", "x509", "-req", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
            *("-CAcreateserial", "-days", _DAYS, "-extfile", extensions, "-out", draft),
        ],
        stdin=request,
    )
    extensions.unlink()
    draft.replace(stem.with_name(f"{stem.name}.crt"))
