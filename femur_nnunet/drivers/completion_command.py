"""``femur_completion``: a shell script that completes the options of all commands at the Tab key."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import shtab

from femur_nnunet.command_line import CommandResult, make_parser, run_command

SHELLS = ("bash", "zsh", "fish")
_OF_FOLDERS = "DIR"


def command_parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of every installed command of this package."""
    for entry in _entry_points():
        yield importlib.import_module(entry.module).build_parser()


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that completes one command.

    Parameters
    ----------
    parser : ArgumentParser
        The command's.
    shell : {"bash", "zsh", "fish"}
        The language of the script.
    """
    _complete_paths(parser)
    return str(shtab.complete(parser, shell=shell))


def _entry_points() -> list[EntryPoint]:
    return [entry for entry in distribution("femur-nnunet").entry_points if entry.group == "console_scripts"]


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Mark the arguments that are paths; whether of folders or of files, their names in the help say."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_paths(inner)
        elif action.type is Path:
            folders = isinstance(action.metavar, str) and action.metavar.endswith(_OF_FOLDERS)
            action.complete = shtab.DIRECTORY if folders else shtab.FILE  # type: ignore[attr-defined]


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser(
        "femur_completion", "Print a script that completes the options of all commands at the Tab key. It takes\n"
        "seconds to make: keep it in a file, let each new shell eval that, and make it anew after an update.",
        'eval "$(femur_completion bash)"')
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read the script")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_completion``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    scripts = {parser.prog: completion_script(parser, arguments.shell) for parser in command_parsers()}
    return CommandResult(lines=list(scripts.values()), summary={"shell": arguments.shell, "scripts": scripts},
                         essential=True)
