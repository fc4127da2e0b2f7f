"""Whether an API server tells its clients of WorkerPool.

It takes the definition, or loses it, a moment before it says so: whoever asks for a pool just
then learns that there is no such thing, or of one that is gone. It knows no tool; kubectl keeps
what it was told in its home.
"""

from support.api_server import ApiServer
from support.waiting import eventually

GROUP = "workerpool.dev"
WHOLE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""All groups with their resources in one answer, as kubectl and helm ask for them."""


def await_pools(api: ApiServer) -> None:
    """Wait until clients are told of the resource and of its fields."""
    fields = f"/openapi/v3/apis/{GROUP}/v1alpha1"
    eventually(
        lambda: "workerpools" in _told(api) and api.request("GET", fields).code == 200,
        "word of the resource",
    )


def await_no_pools(api: ApiServer) -> None:
    """Wait until clients are not told of the resource any more."""
    eventually(lambda: "workerpools" not in _told(api), "the end of the resource")


def _told(api: ApiServer) -> set[str]:
    groups = api.request("GET", "/apis", headers={"Accept": WHOLE}).body["items"]
    return {
        resource["resource"]
        for group in groups
        if group["metadata"]["name"] == GROUP
        for version in group["versions"]
        for resource in version.get("resources", ())
    }
