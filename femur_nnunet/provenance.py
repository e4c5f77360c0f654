"""run.json beside every result: what was run, with what, on what, and how it ended."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from femur_nnunet._version import __version__
from femur_nnunet.files import sha256_of_file, write_json

RUN_RECORD_NAME = "run.json"
RUN_RECORD_SCHEMA = 1
_REPORTED_PACKAGES = ("nnunetv2", "torch", "batchgenerators", "SimpleITK", "scikit-image", "numpy", "pandas",
                      "scipy", "pydicom", "highdicom")
# They change what is shown and nothing of what is made; a command also sets one for another.
_OPTIONS_OF_DISPLAY = frozenset({"quiet", "verbose", "json"})


@dataclass
class RunRecord:
    """What becomes run.json; create it when a command starts and call :meth:`write` when it ends.

    Attributes
    ----------
    command : str
        Name of the command.
    arguments : dict
        Parsed arguments. Paths are written as given unless ``hide_paths`` is set.
    seed : int or None
        Seed of the run, where it has one.
    hide_paths : bool
        Write ``<path>`` in place of every argument that is a path: a hospital's folder names may
        hold names of patients.
    """

    command: str
    arguments: Mapping[str, Any]
    seed: int | None = None
    hide_paths: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

    def add_inputs(self, paths: Iterable[Path]) -> None:
        """Record name and SHA-256 of input files."""
        self.inputs.update(_hashes(paths))

    def add_outputs(self, paths: Iterable[Path]) -> None:
        """Record name and SHA-256 of output files."""
        self.outputs.update(_hashes(paths))

    def write(self, folder: Path, *, exit_code: int, name: str = RUN_RECORD_NAME) -> Path:
        """Write the record into ``folder`` and return its path."""
        ended = time.time()
        content = {
            "schema": RUN_RECORD_SCHEMA,
            "command": self.command,
            "arguments": {key: self._argument(value) for key, value in self.arguments.items()
                          if key not in _OPTIONS_OF_DISPLAY},
            "seed": self.seed,
            "versions": package_versions(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "started": _utc(self._started),
            "ended": _utc(ended),
            "wall_seconds": round(ended - self._started, 3),
            "exit_code": int(exit_code),
            "counts": self.counts,
            "warnings": self.warnings,
            "inputs_sha256": self.inputs,
            "outputs_sha256": self.outputs,
            **self.details,
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        write_json(path, content)
        return path

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Path):
            return "<path>" if self.hide_paths else str(value)
        if isinstance(value, (list, tuple)):
            return [self._argument(item) for item in value]
        if isinstance(value, dict):
            return {str(key): self._argument(item) for key, item in value.items()}
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def package_versions() -> dict[str, str]:
    """Return the versions of Python, this package and the packages that shape its results."""
    versions = {"python": sys.version.split()[0], "femur-nnunet": __version__}
    for name in _REPORTED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _hashes(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in paths}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="seconds")
