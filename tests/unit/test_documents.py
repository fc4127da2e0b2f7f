"""What the documents say of the repository itself: links lead somewhere, modules are named."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
SPECIAL = frozenset({"__init__", "__main__"})


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}


def links(document: Path) -> Iterator[str]:
    """Find the links to other places of the repository."""
    for link in LINK.findall(CODE.sub("", document.read_text())):
        if "://" not in link:
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: str(one.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    "package", ["operator/src/workerpool_operator", "worker/src/image_worker"]
)
def test_the_architecture_names_every_module(package: str) -> None:
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/architecture.md").read_text()))
    modules = {path.stem for path in (ROOT / package).glob("*.py")}
    assert modules - SPECIAL - named == set()
