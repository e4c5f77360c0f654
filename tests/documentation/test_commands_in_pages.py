"""Every command that a page shows is one that its own parser takes."""

from __future__ import annotations

import re
from functools import cache

import pytest
from argument_reading import WrongCommandLineError, check_line, nnunet_parser, options_of, parser_of_source
from command_parsers import actions_of, console_scripts, parser_of
from markdown_pages import ROOT, CodeBlock, Page, all_pages
from shell_lines import SUBSTITUTED, commands_of

PAGES = all_pages()
OUR_WORDS = ("femur_", "convert_", "nnUNetv2_", "make ", "python ", "pip ")
BLOCKS = [block for page in PAGES for block in page.code_blocks
          if block.language in ("", "sh") and any(word in block.text for word in OUR_WORDS)]
# What a page writes for a value that only the reader knows, where the parser asks for a value of a certain form.
# What a shell would fill in is as good as any value of the right form.
PLACEHOLDERS = {SUBSTITUTED: "0" * 64, "HEX": "0" * 64, "FOLD": "0", "I/K": "1/5", "N": "1", "M": "1"}


def check_command(words: list[str], *, whole: bool = True) -> None:
    command, *arguments = words
    whole = whole and "..." not in arguments
    arguments = [PLACEHOLDERS.get(word, word) for word in arguments]
    if command in console_scripts():
        check_line(parser_of(command), arguments, whole=whole)
    elif command.startswith("nnUNetv2_"):
        check_line(nnunet_parser(command), arguments, whole=whole)
    elif command.startswith(("femur_", "convert_")):
        raise WrongCommandLineError(f"no command {command}")
    elif command == "make":
        check_make(arguments)
    elif command == "python" and arguments and arguments[0].endswith(".py"):
        check_line(parser_of_source(ROOT / arguments[0]), arguments[1:], whole=False)
    elif command == "pip":
        check_extras(arguments)


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        known = f"$({name})" in makefile if is_variable else re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE)
        if not known:
            raise WrongCommandLineError(f"the Makefile does not know {name}")


def check_extras(arguments: list[str]) -> None:
    known = set(re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE))
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
        if not set(extra.split(",")) <= known:
            raise WrongCommandLineError(f"no extra {extra}")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_in_a_block_is_one_that_its_parser_takes(block: CodeBlock):
    for words in commands_of(block.text):
        try:
            check_command(words)
        except (WrongCommandLineError, FileNotFoundError) as error:
            pytest.fail(f"{block}: {' '.join(words)}: {error}")


@cache
def options_anywhere() -> frozenset[str]:
    """Options that a page may name without their command: of ours, of training and prediction, of the benchmarks."""
    ours = [parser_of(name) for name in console_scripts()]
    others = [nnunet_parser("nnUNetv2_train"), nnunet_parser("nnUNetv2_predict"),
              *(parser_of_source(path) for path in sorted((ROOT / "benchmarks").glob("*.py")))]
    return frozenset(option for parser in [*ours, *others] for option in options_of(parser, list(actions_of(parser))))


def is_option(word: str) -> bool:
    return re.fullmatch(r"--?[a-z][\w-]*", word) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_in_a_line_of_text_exists(page: Page):
    wrong = []
    for line, span in page.code_spans:
        first = span.split()[0] if span.split() else ""
        if first in console_scripts() or first.startswith("nnUNetv2_") or first == "make" or (
                first == "python" and span.split()[1:2] and span.split()[1].endswith(".py")):
            try:
                for words in commands_of(span.replace("|", " ").replace("[", " ").replace("]", " ")):
                    check_command(words, whole=False)
            except (WrongCommandLineError, FileNotFoundError) as error:
                wrong.append(f"{page.name}:{line}: {span}: {error}")
        elif is_option(first) and page.name != "docs/commands.md" and first not in options_anywhere():
            wrong.append(f"{page.name}:{line}: no command has {first}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("line", "message"), [
    ("femur_plan -d 501 --prest cpu", "no option --prest"),
    ("femur_plan --preset cpu", "required"),
    ("femur_plan -d 501 --preset cup", "invalid choice"),
    ("femur_evaluate a b", "no command femur_evaluate"),
    ("nnUNetv2_train 501 3d_fullres 0 -trainer X", "no option -trainer"),
    ("nnUNetv2_trane 501", "no command nnUNetv2_trane"),
    ("eval \"$(femur_env --rot x)\"", "no option --rot"),
    ("make tests", "does not know tests"),
    ("make model MAPS=DIR", "does not know MAPS"),
    ("python benchmarks/site_gap.py --wrk x", "no option --wrk"),
    ("pip install femur-nnunet[cluster]", "no extra cluster"),
])
def test_a_wrong_line_is_told(line, message):
    commands = list(commands_of(line))
    with pytest.raises(WrongCommandLineError, match=re.escape(message)):
        check_command(commands[0])
