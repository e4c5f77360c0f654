"""nnU-Net's data folders: the environment variables that name them, and a dataset's folder by its number."""

from __future__ import annotations

import os
from pathlib import Path

from femur_nnunet.errors import UsageError

VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def require_folder(variable: str) -> Path:
    """Return the folder that an environment variable of nnU-Net names.

    Raises
    ------
    UsageError
        The variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"{variable}={value!r} in the environment", expected="nnU-Net's data folder",
                         action='run: eval "$(femur_env --root DIR)"')
    return Path(value)


def find_dataset(raw: Path, dataset_id: int) -> Path:
    """Return the raw folder of a dataset number.

    Raises
    ------
    UsageError
        No folder, or more than one, has this number.
    """
    found = sorted(path for path in raw.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UsageError(f"{names} for dataset {dataset_id} in {raw}", expected="one folder "
                         f"Dataset{dataset_id:03d}_NAME", action="run convert_qct_sites, or correct nnUNet_raw")
    return found[0]
