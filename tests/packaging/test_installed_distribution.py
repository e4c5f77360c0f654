"""Installs what is handed out into an empty environment and uses it from outside of the checkout."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from built_distribution import ROOT, build_distribution

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_distribution(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module", params=["sdist", "wheel"])
def environment(request, built, tmp_path_factory):
    """Return the bin folder of an environment with the package; its dependencies are seen where they are installed."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # torch alone takes 6 GB. A folder named in a .pth file is searched, its own .pth files are not read: the package as
    # it is installed for development stays out of sight.
    (site_packages / "dependencies.pth").write_text(f"{Path(torch.__file__).parents[1]}\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index",
                    "--no-deps", "--no-build-isolation", "--ignore-installed", str(getattr(built, request.param))],
                   check=True, cwd=folder)
    located = subprocess.run([python, "-c", "import femur_nnunet; print(femur_nnunet.__file__)"], check=True,
                             capture_output=True, text=True, cwd=folder)
    assert Path(located.stdout.strip()).parents[1] == site_packages
    return python.parent


def run(environment, *arguments):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "PYTHON"))}
    return subprocess.run([environment / arguments[0], *arguments[1:]], capture_output=True, text=True, check=False,
                          cwd=environment, env=clean)


def test_every_command_of_the_installed_package_gives_its_help(environment):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    for line in config["options.entry_points"]["console_scripts"].strip().splitlines():
        command = line.split(" = ")[0]
        helped = run(environment, command, "--help")
        assert helped.returncode == 0, helped.stderr
        assert helped.stdout.startswith(f"usage: {command} ")


def test_nnunet_finds_our_trainer_in_the_installed_package(environment):
    findings = json.loads(run(environment, "femur_doctor", "--json").stdout)["findings"]
    (look_up,) = (finding for finding in findings if finding["check"] == "trainer look-up")
    assert look_up["well"], look_up["found"]


def test_the_installed_package_finds_its_tables_and_templates(environment):
    code = ("from femur_nnunet.phantom.tiers import tier_hash; "
            "from femur_nnunet.calibration.phantoms import load_phantoms; "
            "from femur_nnunet.html_report.rendering import TEMPLATES; "
            "print(len(tier_hash()), len(load_phantoms()) > 0, (TEMPLATES / 'report.html').is_file())")
    assert run(environment, "python", "-c", code).stdout == "64 True True\n"
