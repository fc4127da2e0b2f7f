#!/usr/bin/env python3
"""A kubectl for tests: objects in one JSON file, every call written down.

FAKE_KUBECTL names a folder. `state.json` in it holds what the cluster holds; `calls` gets one line
of JSON for each call. Both are read and written under a lock of the folder. `scale` ends the
worker whose pid is in the state, as a kubelet would.
"""

import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAKE_KUBECTL"])
STATE = FOLDER / "state.json"


def main(words: list[str]) -> int:
    folder = os.open(FOLDER, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with (FOLDER / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    state = json.loads(STATE.read_text())
    verb, *rest = [word for word in words if not word.startswith("--")]
    if error := state.get("errors", {}).get(verb):
        sys.stderr.write(error + "\n")
        return 1
    if verb == "port-forward":
        os.close(folder)
        return forward(state)
    actions: dict[str, Callable[..., object]] = {"get": get, "patch": patch, "scale": scale}
    document = actions[verb](state, words, *rest)
    if document:
        sys.stdout.write(document if isinstance(document, str) else json.dumps(document))
    STATE.write_text(json.dumps(state))
    return 0


def get(state: dict[str, Any], words: list[str], kind: str, name: str = "") -> object:
    chosen = [w.partition("status.podIP=")[2] for w in words if w.startswith("--field-selector")]
    if chosen:
        names = [name for name, ip in state.get("ips", {}).items() if [ip] == chosen]
        return {"items": [{"metadata": {"name": name}} for name in names]}
    if kind == "pods":
        names = [*state.get("pods", []), *(["worker-0"] if alive(state) else [])]
        return {"items": [{"metadata": {"name": name}} for name in names]}
    objects = state.get(kind, {})
    if name:
        return objects.get(name)
    if "--output=name" not in words:
        raise AssertionError(words)
    return "".join(f"{kind}/{name}\n" for name in objects)


def patch(state: dict[str, Any], words: list[str], kind: str, name: str) -> object:
    (change,) = (word.partition("=")[2] for word in words if word.startswith("--patch="))
    body = state[kind][name]
    body["spec"].update(json.loads(change)["spec"])
    body["metadata"]["generation"] += 1
    if state.get("operator", True):
        body["status"]["observedGeneration"] = body["metadata"]["generation"]
    return body


def scale(state: dict[str, Any], words: list[str], kind: str) -> None:
    assert kind == "deployment"
    assert "--replicas=0" in words
    if alive(state):
        os.kill(state["worker"], signal.SIGTERM)


def forward(state: dict[str, Any]) -> int:
    if said := state.get("forward_error"):
        sys.stderr.write(said + "\n")
        return 1
    (FOLDER / "forward.pid").write_text(str(os.getpid()))
    sys.stdout.write(f"Forwarding from 127.0.0.1:{state['forward_port']} -> 6379\n")
    sys.stdout.flush()
    signal.pause()
    return 0


def alive(state: dict[str, Any]) -> bool:
    try:
        status = Path(f"/proc/{state.get('worker', 0)}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
