"""Write docs/commands.md and docs/plan_settings.md from the commands' own parsers and the settings' docstrings.

``python docs/scripts/write_reference.py`` (``make reference``); a test holds the pages equal to what this gives.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from command_parsers import ROOT, actions_of, console_scripts, parser_of

from femur_nnunet.plan_settings import FemurPlanSettings

_MADE = ("<!-- Written by docs/scripts/write_reference.py (make reference); a change "
         "here is lost. -->")


def commands_page() -> str:
    """Return the page of all commands, their options, defaults and examples."""
    parts = ["# Commands and their options", _MADE,
             "Exit codes of every command: 0 all well; 1 some case failed, the rest is written; 2 wrong usage; 3 "
             "another run holds the target; 130 stopped by the keyboard. Every command has `--help`, `--version` and "
             "`--json` (the result as JSON on standard output); those that write results put `run.json` beside them."]
    for command in sorted(console_scripts()):
        parser = parser_of(command)
        parts += [f"## {command}", *_parser_parts(parser)]
        for name, action in actions_of(parser).items():
            parts += [f"### {command} {name}", *_parser_parts(action)]
    return "\n\n".join(parts) + "\n"


def _parser_parts(parser: argparse.ArgumentParser) -> list[str]:
    example = (parser.epilog or "").removeprefix("example:\n")
    lines = [line.removeprefix("  ") for line in example.splitlines()]
    parts = [_plain(" ".join((parser.description or "").split())), "\n".join(["```sh", *lines, "```"])]
    for group in parser._action_groups:
        rows = [f"| {_names(action)} | {_help(action, parser)} |" for action in group._group_actions
                if not isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction)]
        if rows:
            title = "arguments" if group.title == "positional arguments" else group.title
            parts.append("\n".join([f"| {title} | |", "|---|---|", *rows]))
    return parts


def _names(action: argparse.Action) -> str:
    metavar = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    values = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    if action.nargs in ("+", "*"):
        values = f"{values} ..."
    if not action.option_strings:
        return _code(f"[{values}]" if action.nargs == "?" else values)
    takes_value = action.nargs != 0
    shown = ", ".join(_code(f"{option} {values}" if takes_value else option) for option in action.option_strings)
    return f"{shown} (needed)" if action.required else shown


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return _plain(" ".join(text.split()))


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _plain(text: str) -> str:
    """Return text in which nothing is Markdown by accident."""
    return re.sub(r"([\\`*_<>|$\[\]])", r"\\\1", text)


def settings_page() -> str:
    """Return the page of all blocks of a plan, with each key's default and meaning."""
    parts = ["# Settings of a plan", _MADE,
             "They lie in the plan, under `configurations.3d_fullres.femur_nnunet`, beside `schema: 1`. `femur_plan "
             "--set BLOCK.KEY=VALUE` changes single ones, `femur_study --grid` tries several; an unknown key is "
             "refused with the list of the known ones. A plan without this block has the defaults; a preset writes its "
             "own sizes into it."]
    for block in fields(FemurPlanSettings):
        settings = block.default_factory()  # type: ignore[misc]
        documentation = type(settings).__doc__ or ""
        hints = get_type_hints(type(settings))
        rows = [f"| {', '.join(f'`{name}`' for name in names)} "
                f"| {', '.join(_default(getattr(settings, name)) for name in names)} "
                f"| {_options(hints[names[0]], meaning)}{meaning} |"
                for names, meaning in attribute_meanings(documentation).items()]
        parts += [f"## {block.name}", _sentence(documentation.split("\n\n")[0]),
                  "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def attribute_meanings(docstring: str) -> dict[tuple[str, ...], str]:
    """Return what a numpydoc docstring says of each attribute, or of the names that share an entry.

    Parameters
    ----------
    docstring : str
        With a section ``Attributes`` of entries ``name, name : type``.
    """
    found: dict[tuple[str, ...], str] = {}
    names: tuple[str, ...] = ()
    for line in inspect.cleandoc(docstring).partition("----------\n")[2].splitlines():
        head = re.fullmatch(r"(\w[\w, ]*?) : .+", line)
        if head:
            names = tuple(head[1].split(", "))
            found[names] = ""
        elif names:
            found[names] += f" {line}"
    return {names: _sentence(text) for names, text in found.items()}


def _sentence(text: str) -> str:
    """Return a docstring's text as Markdown on one line."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _options(hint: Any, meaning: str) -> str:
    """Return the values that a key may have, where its meaning does not name them all."""
    values = [f"`{value}`" for value in get_args(hint) if isinstance(value, str)]
    return "" if all(value in meaning for value in values) else f"One of {', '.join(values)}. "


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value)}`".replace("'", '"') if isinstance(value, tuple) else f"`{value}`"


def pages() -> dict[Path, str]:
    """Return the generated pages by their paths."""
    return {ROOT / "docs" / "commands.md": commands_page(), ROOT / "docs" / "plan_settings.md": settings_page()}


def main(written: Iterable[tuple[Path, str]]) -> None:
    """Write the pages."""
    for path, text in written:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(pages().items())
