"""The project's Markdown pages as tests look at them: code blocks, code spans, links, anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)$")
_LIST_ITEM = re.compile(r"^\s*([-*]|\d+\.)\s")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced or indented block of code.

    Attributes
    ----------
    page : str
        Path of its page below the project's root.
    line : int
        Line of its first line of code, from 1.
    language : str
        First word behind the fence, empty for indented blocks.
    tags : tuple of str
        The further words, as in ``sh run``.
    text : str
        The code.
    """

    page: str
    line: int
    language: str
    tags: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Path below the project's root, where it lies there."""
        return self.path.relative_to(ROOT).as_posix() if self.path.is_relative_to(ROOT) else self.path.as_posix()

    @cached_property
    def text(self) -> str:
        """The file's text."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _blocks_and_prose(self) -> tuple[list[CodeBlock], str]:
        return _split(self.name, self.text.splitlines())

    @property
    def code_blocks(self) -> list[CodeBlock]:
        """All blocks of code, in their order."""
        return self._blocks_and_prose[0]

    @property
    def prose(self) -> str:
        """The text with empty lines in place of code blocks, so that lines keep their numbers."""
        return self._blocks_and_prose[1]

    @property
    def code_spans(self) -> list[tuple[int, str]]:
        """Line and text of each code span."""
        return [(self.prose.count("\n", 0, found.start()) + 1, " ".join(found[2].replace("\\|", "|").split()))
                for found in re.finditer(r"(?<!`)(`{1,2})(?!`)((?:(?!\n\n).)+?)(?<!`)\1(?!`)", self.prose, re.DOTALL)]

    @property
    def links(self) -> list[tuple[int, str]]:
        """Line and target of each link and image."""
        return [(self.prose.count("\n", 0, found.start()) + 1, found[1])
                for found in re.finditer(r"\]\(([^()\s]+)\)", self.prose)]

    @property
    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub makes them."""
        titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(self.prose))
        return {title.replace(" ", "-") for title in titles}


def _split(name: str, lines: list[str]) -> tuple[list[CodeBlock], str]:
    blocks: list[CodeBlock] = []
    prose: list[str] = []
    number, in_list = 0, False
    while number < len(lines):
        line = lines[number]
        opening = _FENCE.match(line)
        if opening:
            end = next((index for index in range(number + 1, len(lines))
                        if lines[index].strip() == opening["fence"]), None)
            assert end is not None, f"{name}:{number + 1}: a block of code without an end"
            language, *tags = opening["info"].split() or [""]
            code = [text.removeprefix(opening["indent"]) for text in lines[number + 1:end]]
            blocks.append(CodeBlock(name, number + 2, language, tuple(tags), "\n".join(code)))
            prose += [""] * (end + 1 - number)
            number = end + 1
            continue
        if line.startswith("    ") and not in_list and (number == 0 or not prose[-1].strip()):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            code = [text[4:] for text in lines[number:end]]
            blocks.append(CodeBlock(name, number + 1, "", (), "\n".join(code).rstrip()))
            prose += [""] * (end - number)
            number = end
            continue
        if line.strip():
            in_list = bool(_LIST_ITEM.match(line)) or (in_list and line.startswith(" "))
        prose.append(line)
        number += 1
    return blocks, "\n".join(prose)


def all_pages() -> list[Page]:
    """Return README, CHANGELOG and every page of the documentation."""
    return [Page(ROOT / "README.md"), Page(ROOT / "CHANGELOG.md"),
            *(Page(path) for path in sorted((ROOT / "docs").glob("*.md")))]
