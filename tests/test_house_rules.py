"""The rules of the house: who may import whom, how long a file may be, what lands in site-packages."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from command_parsers import console_scripts
from import_rules import room_of_folder, room_of_module

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("planners", "trainers", "dataset_conversion", "evaluation")
SOURCES = sorted(path for folder in ("femur_nnunet", *ROOMS) for path in (ROOT / folder).rglob("*.py"))
LONGEST_FILE_LINES = 500
LONGEST_TRAINER_LINES = 120


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def starts_with(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path):
    room = room_of_folder(path.relative_to(ROOT).as_posix())
    for module in imported_modules(path):
        other = room_of_module(module)
        assert other in (None, room) or other.package in room.may_import, f"{room.folder} imports {module}"
        assert not starts_with(module, room.never), module
        assert not starts_with(module, ROOMS), f"{module}: a room under its bare name"


@pytest.mark.parametrize("room", ["dataset_conversion", "evaluation", "volume_io", "phantom", "randomised"])
def test_rooms_without_networks_do_not_load_torch(room):
    code = (f"import sys, pkgutil, importlib, femur_nnunet.{room} as room\n"
            "[importlib.import_module(room.__name__ + '.' + m.name) for m in pkgutil.iter_modules(room.__path__)]\n"
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_does_not_load_torch():
    code = "import femur_nnunet, sys; sys.exit(any(m in sys.modules for m in ('torch', 'nnunetv2', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_generic_name_is_importable(tmp_path):
    code = ("import importlib.util, sys\n"
            f"sys.exit(any(importlib.util.find_spec(name) for name in {ROOMS!r}))")
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE_LINES


@pytest.mark.parametrize("path", sorted((ROOT / "trainers").glob("*unet*_trainer.py")), ids=lambda path: path.name)
def test_a_trainer_says_only_what_differs(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST_TRAINER_LINES


def test_every_package_and_every_module_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(config["options"]["packages"].split())
    present = set()
    for path in SOURCES:
        parts = path.parent.relative_to(ROOT).parts
        present.add(".".join(parts if parts[0] == "femur_nnunet" else ("femur_nnunet", *parts)))
    assert listed == present


def test_every_console_script_has_its_function():
    for name, target in console_scripts().items():
        module, function = target.split(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None, name
        assert spec.origin is not None
        assert f"def {function}(" in Path(spec.origin).read_text(encoding="utf-8"), name


def test_the_plugin_folder_holds_one_module_with_a_name_of_its_own():
    modules = list((ROOT / "femur_nnunet" / "nnunet_plugin").glob("*.py"))
    assert [path.name for path in modules] == ["femur_nnunet_trainers.py"]
    tree = ast.parse(modules[0].read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    everywhere = [path for path in SOURCES if path.name == modules[0].name]
    assert len(everywhere) == 1
