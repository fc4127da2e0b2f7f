"""Files that are there whole or not at all, however their writer ends."""

from pathlib import Path


def write_whole(file: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text beside a file, with this mode at most, and put it in the place of the file."""
    draft = file.with_suffix(".new")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.replace(file)
