"""Volumes follow claims; against an API server that remembers what it was asked."""

from pathlib import Path
from typing import Any

import pytest

from localcluster.provisioner import Api as RealApi
from localcluster.provisioner import reconcile, volume_for


def claim(name: str, uid: str, **spec: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid},
        "spec": {
            "storageClassName": "local",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


class Api(RealApi):
    """Claims and volumes in memory."""

    def __init__(self) -> None:
        self.claims: list[dict[str, Any]] = []
        self.volumes: dict[str, dict[str, Any]] = {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if method == "POST":
            assert body is not None
            assert body["metadata"]["name"] not in self.volumes, "created twice"
            self.volumes[body["metadata"]["name"]] = body
        elif method == "DELETE":
            del self.volumes[path.rpartition("/")[2]]
        elif "persistentvolumeclaims" in path:
            return {"metadata": {"resourceVersion": "7"}, "items": self.claims}
        return {"items": list(self.volumes.values())}


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_claim_gets_a_folder_that_any_user_may_write_to(api: Api, tmp_path: Path) -> None:
    api.claims = [claim("photos", "u1")]
    assert reconcile(api, tmp_path) == "7"
    folder = tmp_path / "shop" / "photos"
    assert folder.stat().st_mode & 0o777 == 0o777
    (volume,) = api.volumes.values()
    assert volume["spec"]["hostPath"]["path"] == str(folder)


def test_a_second_pass_changes_nothing(api: Api, tmp_path: Path) -> None:
    api.claims = [claim("photos", "u1")]
    reconcile(api, tmp_path)
    reconcile(api, tmp_path)
    assert len(api.volumes) == 1


def test_volume_and_folder_go_when_the_claim_does(api: Api, tmp_path: Path) -> None:
    api.claims = [claim("photos", "u1")]
    reconcile(api, tmp_path)
    (tmp_path / "shop" / "photos" / "a.jpg").touch()
    api.claims = []
    reconcile(api, tmp_path)
    assert api.volumes == {}
    assert not (tmp_path / "shop" / "photos").exists()


def test_a_claim_of_the_same_name_starts_empty(api: Api, tmp_path: Path) -> None:
    api.claims = [claim("photos", "u1")]
    reconcile(api, tmp_path)
    (tmp_path / "shop" / "photos" / "old.jpg").touch()
    api.claims = [claim("photos", "u2")]
    reconcile(api, tmp_path)
    assert list((tmp_path / "shop" / "photos").iterdir()) == []
    assert list(api.volumes) == ["local-u2"]


@pytest.mark.parametrize(
    "spec", [{"storageClassName": "other"}, {"volumeName": "by-hand"}], ids=["class", "volume"]
)
def test_claims_that_are_not_for_us_are_left_alone(
    api: Api, tmp_path: Path, spec: dict[str, str]
) -> None:
    api.claims = [claim("photos", "u1", **spec)]
    reconcile(api, tmp_path)
    assert api.volumes == {}


def test_a_volume_can_be_bound_by_its_claim_alone() -> None:
    volume = volume_for(claim("photos", "u1"), Path("/v"))
    assert volume["spec"]["claimRef"]["uid"] == "u1"
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volume["spec"]["capacity"] == {"storage": "1Gi"}
