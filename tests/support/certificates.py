"""A certificate authority of the tests, and a certificate for 127.0.0.1 that it signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make both, valid for a day."""
    made = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    ca_key, request = str(folder / "ca.key"), str(folder / "server.csr")
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(*new, "-x509", "-days", "1", "-subj", "/CN=test CA", "-keyout", ca_key,
             "-out", str(made.ca))  # fmt: skip
    _openssl(*new, "-subj", "/CN=redis", "-keyout", str(made.key), "-out", request)
    _openssl("x509", "-req", "-in", request, "-CA", str(made.ca), "-CAkey", ca_key, "-days", "1",
             "-CAcreateserial", "-extfile", str(names), "-out", str(made.certificate))  # fmt: skip
    return made


def _openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True, timeout=60)
