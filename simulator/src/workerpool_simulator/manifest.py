"""A WorkerPool's manifest, completed and checked field by field as the API server does it.

Knows the resource's schema, whose copy lies beside it (manifests/render.py writes that), but not
the rules in it that tie fields together or say how names are written: those are left to the API
server, which has the language they are written in.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from workerpool_operator.errors import InvalidResource
from workerpool_operator.resource import KIND, Pool, parse

Document = dict[str, Any]

_IDENTITY = {
    "name": "-",
    "namespace": "default",
    "uid": "-",
    "generation": 1,
    "resourceVersion": "1",
}
_TYPES: Mapping[str, tuple[type, str]] = {
    "object": (dict, "a mapping"),
    "array": (list, "a list"),
    "string": (str, "a string"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
}


def read(path: Path) -> Pool:
    """Return the one WorkerPool in a file of YAML documents.

    Raises:
        InvalidResource: there is none, or several, or a field of it is wrong.
        OSError: the file cannot be read.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidResource(f"{path} is no YAML: {error}") from error
    pools = [d for d in documents if isinstance(d, dict) and d.get("kind") == KIND]
    if not pools:
        raise InvalidResource(f"{path} holds no WorkerPool: name a file with one kind: {KIND}")
    if len(pools) > 1:
        raise InvalidResource(f"{path} holds {len(pools)} WorkerPools: leave the one to look at")
    (pool,) = pools
    metadata = pool.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InvalidResource(f"{path}: metadata must be a mapping, not {metadata!r}")
    try:
        return parse({"metadata": _IDENTITY | metadata, "spec": complete(pool.get("spec"))})
    except InvalidResource as error:
        raise InvalidResource(f"{path}: {error}") from error


def complete(spec: object) -> Document:
    """Return a pool's `spec` as the API server would store it.

    Raises:
        InvalidResource: with all the fields that it would refuse, a line each.
    """
    stored = _fill(schema(), spec)
    problems = list(_problems(schema(), stored, "spec"))
    if problems:
        raise InvalidResource("\n".join(problems))
    return dict(stored)


@cache
def schema() -> Document:
    """Return the schema of `spec`."""
    text = (resources.files("workerpool_simulator") / "crd.yaml").read_text(encoding="utf-8")
    (version,) = yaml.safe_load(text)["spec"]["versions"]
    spec: Document = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _fill(schema: Document, value: Any) -> Any:  # noqa: ANN401  any YAML
    """Fill in defaults; what is null counts as left out."""
    if isinstance(value, list):
        return [_fill(schema.get("items", {}), entry) for entry in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    given = {n: v for n, v in value.items() if v is not None or n not in properties}
    defaults = {n: p["default"] for n, p in properties.items() if "default" in p}
    return {n: _fill(properties.get(n, {}), v) for n, v in (defaults | given).items()}


def _problems(schema: Document, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401  likewise
    """Say what is wrong with one value, and with all that is in it."""
    kind, words = _TYPES[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield f"{path} must be {words}, not {value!r}"
    elif value not in schema.get("enum", [value]):
        yield f"{path} must be one of {', '.join(schema['enum'])}, not {value!r}"
    elif isinstance(value, dict):
        yield from _problems_of_fields(schema, value, path)
    elif isinstance(value, list):
        yield from _out_of_bounds(schema, "Items", len(value), f"{path} must have", " entries")
        for number, entry in enumerate(value):
            yield from _problems(schema["items"], entry, f"{path}[{number}]")
    elif isinstance(value, str):
        yield from _out_of_bounds(schema, "Length", len(value), f"{path} must have", " characters")
    elif isinstance(value, int):
        yield from _out_of_bounds(schema, "imum", value, f"{path} must be")


def _problems_of_fields(schema: Document, value: Document, path: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name} is missing"
    for name, inner in value.items():
        if name in properties:
            yield from _problems(properties[name], inner, f"{path}.{name}")
        elif others:
            yield from _problems(others, inner, f"{path}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{path}.{name} is no field: {path} has {', '.join(properties)}"


def _out_of_bounds(
    schema: Document, bound: str, size: int, words: str, unit: str = ""
) -> Iterator[str]:
    """Say so if a size is not within `minX` to `maxX`, X being `bound`."""
    least, most = schema.get(f"min{bound}", 0), schema.get(f"max{bound}", size)
    if not least <= size <= most:
        yield f"{words} {least} to {most}{unit}, not {size}"
