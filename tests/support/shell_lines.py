"""Commands that a block of shell code holds, as lists of words; nothing is run or expanded."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_INNER = re.compile(r"\$\(([^()]*)\)")
_REDIRECTION = re.compile(r"\s\d?>(?:&\d|>?\s*\S+)")
SUBSTITUTED = "$SUBSTITUTED"
"""Word that stands where a command's output would."""
_SEPARATORS = frozenset(";&|()")


def commands_of(block: str) -> Iterator[list[str]]:
    """Yield the words of each command, those within ``$(...)`` as commands of their own.

    Parameters
    ----------
    block : str
        Shell code; here-documents are passed over, assignments in front of a command left out. What is handed
        to a batch system (``sbatch --wrap``) is looked into.
    """
    for line in _logical_lines(block):
        for inner in _INNER.findall(line):
            yield from commands_of(inner)
        line = _REDIRECTION.sub("", _INNER.sub(SUBSTITUTED, line))
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        for word in [*lexer, ";"]:
            if set(word) <= _SEPARATORS:
                if words:
                    yield words
                if "--wrap" in words:
                    yield from commands_of(words[words.index("--wrap") + 1])
                words = []
            elif words or not _ASSIGNMENT.match(word):
                words.append(word)


def _logical_lines(block: str) -> Iterator[str]:
    end_of_document = None
    line = ""
    for physical in block.splitlines():
        if end_of_document is not None:
            end_of_document = None if physical.strip() == end_of_document else end_of_document
            continue
        line += physical
        if line.endswith("\\"):
            line = line[:-1] + " "
            continue
        if _is_open(line):
            line += "\n"
            continue
        document = re.search(r"<<-?\s*['\"]?(\w+)['\"]?", line)
        if document:
            end_of_document = document[1]
            line = line[:document.start()]
        yield line
        line = ""
    if line:
        yield line


def _is_open(line: str) -> bool:
    """Whether a quotation goes on in the next line."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False
