"""How pip's network settings get into a build, and what stays out of it."""

from pathlib import Path

import pytest

from localcluster import pip_settings


def test_the_environment_has_precedence_over_files(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://file.example/simple\ntimeout = 5\n")
    environment = {"PIP_INDEX_URL": "https://environment.example/simple"}
    assert pip_settings.current(environment, [file]) == {
        "index-url": "https://environment.example/simple",
        "timeout": "5",
    }


def test_only_what_concerns_the_network_is_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[install]\nuser = true\nproxy = http://proxy.example:3128\n")
    environment = {"PIP_FIND_LINKS": "/somewhere", "PIP_CERT": "/etc/cert.pem"}
    assert pip_settings.current(environment, [file]) == {
        "proxy": "http://proxy.example:3128",
        "cert": "/etc/cert.pem",
    }


def test_a_percent_sign_in_a_password_is_no_interpolation(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://user:p%40ss@index.example/simple\n")
    assert pip_settings.current({}, [file])["index-url"].startswith("https://user:p%40ss@")


def test_certificates_are_mounted_and_named_by_their_place_in_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    monkeypatch.setenv("PIP_CERT", str(certificates))
    with pip_settings.as_secrets() as secrets:
        found = dict(part.split(",src=") for part in secrets)
        assert found["id=certificates"] == str(certificates)
        text = Path(found["id=pip.conf"]).read_text()
    assert "cert = /run/certificates.pem" in text
    assert str(tmp_path) not in text
    assert not Path(found["id=pip.conf"]).exists()
