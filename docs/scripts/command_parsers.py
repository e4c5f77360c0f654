"""The argument parser of each of our commands, by its name in setup.cfg."""

from __future__ import annotations

import argparse
import configparser
import importlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def console_scripts() -> dict[str, str]:
    """Return ``module:function`` of every command in setup.cfg, by its name, in the order of that file."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, target in (line.split("=", 1) for line in lines)}


@cache
def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser that a command reads its arguments with.

    Parameters
    ----------
    command : str
        Name of one of :func:`console_scripts`.

    Raises
    ------
    KeyError
        There is no such command.
    """
    module, _ = console_scripts()[command].split(":")
    parser: argparse.ArgumentParser = importlib.import_module(module).build_parser()
    return parser


def actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's actions, as of ``femur_model show``; empty where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
