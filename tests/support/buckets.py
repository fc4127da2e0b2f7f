"""An S3 server on loopback, looked into by another client than the product's."""

from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from support.context import Context

BUCKET = "photos"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = {"AWS_REGION": "eu-central-1"}


class BucketServer(Context):
    """Moto's server, with one bucket."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.endpoint = ""
        self._client: Any = None

    def _begin(self) -> None:
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION["AWS_REGION"],
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106  not one of anything real
        )
        where = {"LocationConstraint": REGION["AWS_REGION"]}
        self._client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()
        self._server.stop()

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=name, Body=data)

    def read(self, name: str) -> tuple[bytes, str]:
        """Return what an object holds, and its content type."""
        found = self._client.get_object(Bucket=BUCKET, Key=name)
        with found["Body"] as body:
            return body.read(), found["ContentType"]

    def names(self) -> set[str]:
        listed = self._client.list_objects_v2(Bucket=BUCKET)
        return {found["Key"] for found in listed.get("Contents", [])}
