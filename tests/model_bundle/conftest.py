from __future__ import annotations

import os
import pickle
import pydoc
import subprocess
from pathlib import Path

import pytest
import torch
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle; tests must not change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "model.zip", family="unet", folds=("0",))


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was called of all that could execute something of a file; nothing of it may be called."""
    called: list[str] = []
    for module, name in ((os, "system"), (os, "popen"), (subprocess, "Popen"), (pickle, "Unpickler"),
                         (pickle, "loads"), (pickle, "load"), (pydoc, "locate"), (torch, "load")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: called.append(name))
    return called
