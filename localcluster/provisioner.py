"""Persistent volumes on demand: a folder per claim, on a disk that all nodes share.

Runs as a component of the cluster. A claim of the storage class `local` gets a volume backed by
`<volumes>/<namespace>/<claim>`; when the claim is gone, so are volume and folder. Each pass
compares what is with what should be, so that nothing depends on having seen an event.
"""

import http.client
import json
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localcluster import addresses
from localcluster.objects import PROVISIONER, STORAGE_CLASS

_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_LABEL = "localcluster.workerpool.dev/folder"
_WATCH_SECONDS = 300


class Api:
    """The few calls that this program makes, as its own user."""

    def __init__(self, pki: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "provisioner.crt", pki / "provisioner.key")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make one request; raise OSError unless it succeeds (404 of a DELETE is success)."""
        connection = self._connect()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        gone = method == "DELETE" and answer.status == http.HTTPStatus.NOT_FOUND
        if answer.status >= http.HTTPStatus.BAD_REQUEST and not gone:
            raise OSError(f"{method} {path}: {answer.status} {content.decode()}")
        parsed: dict[str, Any] = json.loads(content)
        return parsed

    def changes(self, path: str, since: str) -> Iterator[None]:
        """Yield at each change of a collection after `since`, until the watch ends."""
        connection = self._connect()
        try:
            query = f"watch=1&resourceVersion={since}&timeoutSeconds={_WATCH_SECONDS}"
            connection.request("GET", f"{path}?{query}")
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise OSError(f"watching {path}: {answer.status} {answer.read().decode()}")
            for line in answer:
                if json.loads(line)["type"] == "ERROR":
                    return
                yield
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            str(addresses.CONTROL_PLANE),
            addresses.API_PORT,
            context=self._tls,
            timeout=_WATCH_SECONDS + 30,
        )


def volume_for(claim: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Render the volume that a claim asks for."""
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"local-{metadata['uid']}",
            "labels": {_LABEL: "true"},
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def reconcile(api: Api, volumes: Path) -> str:
    """Bring volumes and folders in line with the claims; return the claims' resource version."""
    claims = api.call("GET", _CLAIMS)
    existing = api.call("GET", f"{_VOLUMES}?labelSelector={_LABEL}")["items"]
    claimed = {claim["metadata"]["uid"] for claim in claims["items"]}
    for volume in existing:
        if volume["spec"]["claimRef"]["uid"] not in claimed:
            folder = Path(volume["spec"]["hostPath"]["path"])
            if folder.exists():
                shutil.rmtree(folder)
            api.call("DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")
    have = {volume["spec"]["claimRef"]["uid"] for volume in existing}
    for claim in claims["items"]:
        metadata, spec = claim["metadata"], claim["spec"]
        if spec.get("storageClassName") != STORAGE_CLASS or spec.get("volumeName"):
            continue
        if metadata["uid"] not in have:
            folder = volumes / metadata["namespace"] / metadata["name"]
            folder.mkdir(parents=True, exist_ok=True)
            # Pods run as whatever user they like, and so does the person who looks at the files.
            folder.chmod(0o777)
            api.call("POST", _VOLUMES, volume_for(claim, folder))
    version: str = claims["metadata"]["resourceVersion"]
    return version


def main(pki: Path, volumes: Path) -> None:
    """Reconcile at each change for ever; an API server that is away is waited for."""
    api = Api(pki)
    while True:
        try:
            version = reconcile(api, volumes)
            for _ in api.changes(_CLAIMS, version):
                reconcile(api, volumes)
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"{type(error).__name__}: {error}; trying again", file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
