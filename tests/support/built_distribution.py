"""Builds the source archive and, out of it alone, the wheel: as ``python -m build`` does, without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("planners", "trainers", "dataset_conversion", "evaluation")
_BESIDE = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
_BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@dataclass(frozen=True)
class Distribution:
    """The two files that are handed out."""

    sdist: Path
    wheel: Path


def room_files() -> set[str]:
    """Return every file of the rooms by its installed path, below site-packages."""
    paths = (path.relative_to(ROOT) for room in ("femur_nnunet", *ROOMS) for path in (ROOT / room).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts)
    return {path.as_posix() if path.parts[0] == "femur_nnunet" else f"femur_nnunet/{path.as_posix()}"
            for path in paths}


def build_distribution(folder: Path) -> Distribution:
    """Build both from a copy of the tree: setuptools writes beside its sources, and takes in what lies in build/."""
    tree = folder / "tree"
    for room in ("femur_nnunet", *ROOMS):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _BESIDE:
        shutil.copy(ROOT / name, tree / name)
    sdist = _built("build_sdist", tree, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Distribution(sdist, _built("build_wheel", unpacked, folder))


def _built(hook: str, tree: Path, folder: Path) -> Path:
    result = subprocess.run([sys.executable, "-c", _BUILD, hook, str(folder)], cwd=tree, capture_output=True, text=True,
                            check=True)
    return folder / result.stdout.split()[-1]
