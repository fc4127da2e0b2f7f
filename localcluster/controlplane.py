"""The control plane: etcd, the API server, the controllers, the scheduler and the cluster's DNS.

All of it runs in one network namespace, where only the API server and DNS listen for others.
"""

import json

from localcluster import addresses, network
from localcluster.components import Component
from localcluster.layout import Layout

_ETCD = "http://127.0.0.1:2379"
_LOOPBACK = "--bind-address=127.0.0.1"


def components(layout: Layout) -> list[Component]:
    """Return the control plane's programs in the order in which they are started."""
    return [
        _component(
            layout,
            "etcd",
            f"--data-dir={layout.state / 'etcd'}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
            # A throwaway cluster need not survive a power cut, and disks here may be slow.
            "--unsafe-no-fsync",
        ),
        _component(layout, "kube-apiserver", *_api_server(layout)),
        _component(
            layout,
            "kube-controller-manager",
            _LOOPBACK,
            _kubeconfig(layout, "kube-controller-manager"),
            f"--service-account-private-key-file={layout.pki / 'service-accounts.key'}",
            f"--root-ca-file={layout.pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={layout.pki / 'ca.crt'}",
            f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
        ),
        _component(
            layout,
            "kube-scheduler",
            _LOOPBACK,
            _kubeconfig(layout, "kube-scheduler"),
            "--leader-elect=false",
        ),
        _component(layout, "coredns", f"-conf={layout.state / 'Corefile'}"),
    ]


def corefile(layout: Layout) -> str:
    """Render CoreDNS's configuration: the cluster's names, and honest ignorance of all others."""
    return f"""\
{addresses.CLUSTER_DOMAIN}:53 in-addr.arpa:53 {{
    bind {addresses.CONTROL_PLANE}
    errors
    kubernetes {addresses.CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {json.dumps(str(layout.pki / "coredns.kubeconfig"))}
        pods insecure
        ttl 5
    }}
}}
.:53 {{
    bind {addresses.CONTROL_PLANE}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def _api_server(layout: Layout) -> tuple[str, ...]:
    pki = layout.pki
    return (
        f"--etcd-servers={_ETCD}",
        f"--secure-port={addresses.API_PORT}",
        f"--advertise-address={addresses.CONTROL_PLANE}",
        f"--service-cluster-ip-range={addresses.SERVICES}",
        f"--tls-cert-file={pki / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{addresses.CLUSTER_DOMAIN}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={pki / 'kube-apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'kube-apiserver-kubelet.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
    )


def _component(layout: Layout, program: str, *flags: str) -> Component:
    return Component(
        name=program,
        command=(str(layout.programs / program), *flags),
        network=network.handle(network.CONTROL_PLANE),
    )


def _kubeconfig(layout: Layout, name: str) -> str:
    return f"--kubeconfig={layout.pki / f'{name}.kubeconfig'}"
