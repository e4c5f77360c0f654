"""The columns that docs/file_formats.md names."""

from __future__ import annotations

import re

from markdown_pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "file_formats.md")


def documented(name: str) -> list[str]:
    """Return the columns that the section of a file names in the first cells of its table."""
    section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE.text, re.MULTILINE | re.DOTALL)
    assert section, f"no section {name}"
    cells = re.findall(r"^\| (`[^|]+) \|", section[1], re.MULTILINE)
    return [column for cell in cells for column in re.findall(r"`([^`]+)`", cell)]
