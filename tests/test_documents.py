"""Prose that names code is true: every path in backticks or links exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
NAMED = re.compile(r"`((?:src|tests|bench|docs)/[\w./*-]+)`|\]\(((?!https?:)[\w./-]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    for match in NAMED.finditer(text):
        named = match[1] or match[2]
        base = ROOT if match[1] else document.parent
        assert list(base.glob(named)) or (base / named).exists(), f"{named} does not exist"
