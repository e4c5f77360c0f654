"""Argument parsers rebuilt from source code, so that a command line can be checked without importing its program."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

_KEPT = ("nargs", "action", "required", "dest", "choices")


class WrongCommandLineError(Exception):
    """A command line that its parser refuses; the message is the parser's."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise WrongCommandLineError(message)


@cache
def nnunet_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one of nnU-Net's commands.

    Raises
    ------
    WrongCommandLineError
        nnU-Net has no such command.
    """
    distribution = importlib.metadata.distribution("nnunetv2")
    targets = {entry.name: entry.value for entry in distribution.entry_points if entry.group == "console_scripts"}
    if command not in targets:
        raise WrongCommandLineError(f"nnU-Net has no command {command}")
    module, function = targets[command].split(":")
    return parser_of_source(Path(str(distribution.locate_file(module.replace(".", "/") + ".py"))), function)


@cache
def parser_of_source(path: Path, function: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the ``add_argument`` calls of a file, or of one function in it where it has some.

    Types are left out; so are choices that are no plain list.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies: list[ast.AST] = [node for node in ast.walk(tree)
                             if isinstance(node, ast.FunctionDef) and node.name == function]
    calls = [call for body in bodies for call in _add_argument_calls(body)] or _add_argument_calls(tree)
    parser = _Parser(prog=path.name, allow_abbrev=False)
    for call in calls:
        names = [_value(argument) for argument in call.args]
        options = {keyword.arg: _value(keyword.value) for keyword in call.keywords if keyword.arg in _KEPT}
        parser.add_argument(*names, **{name: value for name, value in options.items() if value is not None})
    return parser


def _add_argument_calls(node: ast.AST) -> list[ast.Call]:
    return [call for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            and call.func.attr == "add_argument" and call.args and isinstance(call.args[0], ast.Constant)]


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def check_line(parser: argparse.ArgumentParser, words: list[str], *, whole: bool) -> None:
    """Let a parser read a command's words.

    Parameters
    ----------
    parser : ArgumentParser
        The command's own, or one made here.
    words : list of str
        Without the command's name.
    whole : bool
        Whether the line is meant to be complete; else its options need only exist.

    Raises
    ------
    WrongCommandLineError
        The parser refuses the line, or does not know an option by its full name.
    """
    known = options_of(parser, words)
    unknown = [word for word in words if word.startswith("-") and word[1:2] not in ("", ".")
               and not word[1:2].isdigit() and word.split("=")[0] not in known]
    if unknown:
        raise WrongCommandLineError(f"no option {', '.join(unknown)}")
    if whole:
        _parse(parser, words)


def options_of(parser: argparse.ArgumentParser, words: list[str]) -> set[str]:
    """Return the names of a parser's options, those of the action that the words name included."""
    known: set[str] = set()
    for action in parser._actions:
        known |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                known |= options_of(inner, words) if name in words else set()
    return known


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> None:
    def refuse(_: argparse.ArgumentParser, message: str) -> None:
        raise WrongCommandLineError(message)

    original = argparse.ArgumentParser.error
    argparse.ArgumentParser.error = refuse  # type: ignore[assignment, method-assign]
    try:
        parser.parse_args(words)
    except SystemExit:  # --help and --version print and leave
        return
    finally:
        argparse.ArgumentParser.error = original  # type: ignore[method-assign]
