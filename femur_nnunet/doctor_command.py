"""``femur_doctor``: checks an installation and tells the mend of what is wrong."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from femur_nnunet.command_line import CommandResult, ExitCode, format_table, make_parser, run_command
from femur_nnunet.env_command import plugin_folder
from femur_nnunet.nnunet_folders import VARIABLES

OLDEST_PYTHON = (3, 10)
NNUNET_VERSIONS = ((2, 8, 1), (2, 9))
NEEDED_DISK_GB = 10.0
TRAINER = "TransUNetDATrainer"
# Run in a process of its own: the look-up imports every trainer of nnU-Net, and a torchvision that
# does not fit torch kills the interpreter's import of them.
_LOOK_UP = f"""
import pickle
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
found = recursive_find_trainer_class_by_name("{TRAINER}")
assert pickle.loads(pickle.dumps(found)) is found
print("found", found.__module__)
"""


@dataclass(frozen=True)
class Finding:
    """Result of one check: what was checked, whether it is well, what was found, and the mend."""

    check: str
    well: bool
    found: str
    mend: str = ""


def check_python() -> Finding:
    """Check the version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= OLDEST_PYTHON, version,
                   f"install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer")


def check_nnunet() -> Finding:
    """Check that nnU-Net has a version whose hooks are known."""
    mend = "run: pip install 'nnunetv2>=2.8.1,<2.9'"
    try:
        version = importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        return Finding("nnU-Net", False, "not installed", mend)
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    return Finding("nnU-Net", NNUNET_VERSIONS[0] <= numbers < NNUNET_VERSIONS[1], version, mend)


def check_torch_chain() -> Finding:
    """Import torch, torchvision and timm, which nnU-Net's trainer look-up needs together."""
    versions = []
    for name in ("torch", "torchvision", "timm"):
        try:
            module = importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            return Finding("torch, torchvision, timm", False, f"{name}: {error}".splitlines()[0],
                           "install torch and torchvision together by plain pip, in an environment of their own")
        versions.append(f"{name} {module.__version__}")
    return Finding("torch, torchvision, timm", True, ", ".join(versions))


def check_trainer_look_up() -> Finding:
    """Let nnU-Net find and pickle our trainer, in a process of its own."""
    environment = {**os.environ, "nnUNet_extTrainer": str(plugin_folder())}
    result = subprocess.run([sys.executable, "-c", _LOOK_UP], env=environment, capture_output=True, text=True,
                            check=False, timeout=600)
    if result.returncode == 0:
        return Finding("trainer look-up", True, f"{TRAINER} found and pickled")
    last = (result.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("trainer look-up", False, last, "mend what the other checks name, then reinstall femur-nnunet")


def check_environment() -> Finding:
    """Check nnU-Net's environment variables."""
    variables = (*VARIABLES, "nnUNet_extTrainer")
    unset = [name for name in variables if not os.environ.get(name)]
    mend = 'run: eval "$(femur_env --root DIR)"'
    if unset:
        return Finding("environment", False, f"not set: {', '.join(unset)}", mend)
    if str(plugin_folder()) not in os.environ["nnUNet_extTrainer"].split(os.pathsep):
        return Finding("environment", False, "nnUNet_extTrainer names another folder", mend)
    return Finding("environment", True, "nnU-Net's folders and our trainers are named")


def check_disk() -> Finding:
    """Check free disk space where the data lie."""
    folder = Path(os.environ.get("nnUNet_preprocessed") or ".")
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    return Finding("disk", free_gb >= NEEDED_DISK_GB, f"{free_gb:.0f} GB free",
                   f"free {NEEDED_DISK_GB:.0f} GB; an environment takes 7 GB, a preprocessed scan up to 100 MB")


def check_gpu() -> Finding:
    """Say what networks can run on; no GPU is no fault."""
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return Finding("GPU", False, "torch does not import", "see the check of torch")
    if torch.cuda.is_available():
        memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Finding("GPU", True, f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB")
    return Finding("GPU", True, "none: plan with --preset cpu and pass -device cpu to nnU-Net's commands")


CHECKS: tuple[Callable[[], Finding], ...] = (check_python, check_nnunet, check_torch_chain, check_trainer_look_up,
                                             check_environment, check_disk, check_gpu)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    return make_parser("femur_doctor", "Check Python, versions, nnU-Net's look-up of our trainers, folders, disk and "
                       "GPU. Exit code 1 when something needs a mend.", "femur_doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``femur_doctor``."""
    return run_command(build_parser(), _run, argv)


def _run(_: argparse.Namespace) -> CommandResult:
    findings = [check() for check in CHECKS]
    rows = [("ok" if finding.well else "MEND", finding.check, finding.found) for finding in findings]
    mends = [f"{finding.check}: {finding.mend}" for finding in findings if not finding.well]
    return CommandResult(
        ExitCode.SOME_FAILED if mends else ExitCode.OK,
        lines=[*format_table(("", "check", "found"), rows), *mends],
        summary={"findings": [vars(finding) for finding in findings]})
