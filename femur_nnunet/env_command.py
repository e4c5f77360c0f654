"""``femur_env``: shell exports that make every stock nnU-Net command know our trainers."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import femur_nnunet
from femur_nnunet.command_line import CommandResult, make_parser, run_command, worker_count
from femur_nnunet.nnunet_folders import VARIABLES

_MANY_CORES = 8


def plugin_folder() -> Path:
    """Return the folder that ``nnUNet_extTrainer`` has to name."""
    return Path(femur_nnunet.__file__).resolve().parent / "nnunet_plugin"


def nnunet_environment(root: Path) -> dict[str, str]:
    """Return nnU-Net's environment variables for data below ``root``.

    Workers are limited on small machines, where nnU-Net would start eight; on larger ones its own
    defaults stay. ``nnUNet_n_proc_DA`` is left alone: 0 gives exact reproducibility in training but
    stops nnU-Net's planning, so it belongs to single commands.
    """
    variables = {name: str(root.resolve() / name) for name in VARIABLES}
    others = [path for path in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep)
              if path and Path(path) != plugin_folder()]
    variables["nnUNet_extTrainer"] = os.pathsep.join([str(plugin_folder()), *others])
    cores = worker_count(0)
    if cores < _MANY_CORES:
        variables["nnUNet_def_n_proc"] = str(cores)
    return variables


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = make_parser("femur_env", "Print shell exports for nnU-Net's folders and for our trainers. They are "
                         "needed for training and for prediction.", 'eval "$(femur_env --root DIR)"')
    parser.add_argument("--root", type=Path, required=True, metavar="DIR",
                        help="folder that holds (or shall hold) nnUNet_raw, nnUNet_preprocessed and nnUNet_results")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_env``."""
    return run_command(build_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> CommandResult:
    variables = nnunet_environment(arguments.root)
    for name in VARIABLES:
        Path(variables[name]).mkdir(parents=True, exist_ok=True)
    return CommandResult(lines=[f"export {name}={shlex.quote(value)}" for name, value in variables.items()],
                         summary=variables, essential=True)
