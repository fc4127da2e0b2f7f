"""How pip reaches its index on this machine, handed into image builds without staying in them.

Proxies, mirrors and certificates are a machine's own business: they are read where pip reads them
and mounted as build secrets, so that no Dockerfile, image or log names any of them.
"""

import configparser
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_CERTIFICATES = "/run/certificates.pem"
_PASSED_ON = frozenset(
    {
        "index-url",
        "extra-index-url",
        "trusted-host",
        "proxy",
        "timeout",
        "default-timeout",
        "retries",
    }
)


@contextmanager
def as_secrets() -> Iterator[list[str]]:
    """Yield buildah's `--secret` values; the files behind them exist inside the block."""
    settings = current(os.environ, _files(os.environ))
    certificates = settings.pop("cert", None) or os.environ.get("SSL_CERT_FILE")
    with tempfile.TemporaryDirectory() as folder:
        secrets = []
        if certificates and Path(certificates).is_file():
            settings["cert"] = _CERTIFICATES
            secrets.append(f"id=certificates,src={certificates}")
        if settings:
            path = Path(folder) / "pip.conf"
            path.touch(mode=0o600)
            path.write_text(render(settings))
            secrets.append(f"id=pip.conf,src={path}")
        yield secrets


def current(environment: Mapping[str, str], files: list[Path]) -> dict[str, str]:
    """Return those of pip's settings that concern the network; the environment has precedence."""
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        parser.read(path)
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for name, value in environment.items():
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {name: value for name, value in found.items() if name in {*_PASSED_ON, "cert"}}


def render(settings: Mapping[str, str]) -> str:
    """Render a pip.conf."""
    return (
        "\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items())]) + "\n"
    )


def _files(environment: Mapping[str, str]) -> list[Path]:
    """Return pip's configuration files on this machine, least important first."""
    home = Path.home()
    places = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if explicit := environment.get("PIP_CONFIG_FILE"):
        places.append(Path(explicit))
    return [path for path in places if path.is_file()]
