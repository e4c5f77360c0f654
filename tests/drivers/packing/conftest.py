from __future__ import annotations

from pathlib import Path

import pytest
from trained_folder import write_preprocessed, write_trained_folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained folder of two folds; tests must not change it."""
    return write_trained_folder(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its dataset in nnUNet_preprocessed; tests must not change it."""
    return write_preprocessed(tmp_path_factory.mktemp("dataset"))
