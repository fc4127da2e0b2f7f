"""Run programs to their end, and wait for conditions; nothing here waits for ever."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcluster.errors import CommandFailed, TimedOut


def run(
    command: Sequence[str | Path],
    *,
    timeout_seconds: float = 60,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a program and return what it printed; raise CommandFailed with its last words.

    `environment` is added to this process's own. Output on stderr is part of the answer only when
    the program fails.
    """
    words = [str(word) for word in command]
    try:
        done = _completed(
            words,
            timeout_seconds,
            environment,
            folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            f"`{' '.join(words)}` did not end within {timeout_seconds:.0f} s"
        ) from error
    if done.returncode != 0:
        raise CommandFailed(
            f"`{' '.join(words)}` ended with {done.returncode}:\n{_last_lines(done)}"
        )
    return done.stdout


def succeeds(command: Sequence[str | Path], *, timeout_seconds: float = 30) -> bool:
    """Tell whether a program ends well; for questions whose answer may be no."""
    try:
        run(command, timeout_seconds=timeout_seconds)
    except (CommandFailed, PermissionError):  # a folder on PATH may be closed to this user
        return False
    return True


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    """Run a long program with its output in a file; raise CommandFailed with the file's end."""
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            done = _completed(
                words,
                timeout_seconds,
                environment,
                folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                f"`{words[0]}` did not end within {timeout_seconds:.0f} s; read {log}"
            ) from error
    if done.returncode != 0:
        raise CommandFailed(
            f"`{' '.join(words[:3])} …` ended with {done.returncode}; read {log}, which ends:\n"
            f"{tail(log)}"
        )


def wait_until(
    condition: Callable[[], bool],
    *,
    timeout_seconds: float,
    otherwise: Callable[[], str],
    poll_seconds: float = 0.05,
) -> None:
    """Return as soon as the condition holds; raise TimedOut with `otherwise()` if it does not."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TimedOut(f"{otherwise()} (waited {timeout_seconds:.0f} s)")
        time.sleep(poll_seconds)


def tail(log: Path, lines: int = 15) -> str:
    """Return a file's last lines; nothing if there is no file."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _completed(
    words: Sequence[str],
    timeout_seconds: float,
    environment: Mapping[str, str] | None,
    folder: Path | None,
    **streams: Any,  # noqa: ANN401  as subprocess.run takes them
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            text=True,
            timeout=timeout_seconds,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            check=False,
            **streams,
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"{words[0]}: no such program; run `make packages`") from error


def _last_lines(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
