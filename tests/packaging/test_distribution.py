from __future__ import annotations

import configparser
import email
import tarfile
import zipfile

import pytest
from built_distribution import ROOT, build_distribution, room_files

from femur_nnunet.calibration.phantoms import PHANTOM_TABLE
from femur_nnunet.phantom.tiers import TIERS_FILE
from femur_nnunet.randomised.ranges import RANGES_FILE


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_distribution(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def info(wheel, name):
    (found,) = (content for path, content in wheel.items() if path.endswith(f".dist-info/{name}"))
    return found.decode()


def test_the_wheel_that_is_built_from_the_source_archive_holds_every_file_of_the_rooms_and_no_other(wheel):
    assert {name for name in wheel if ".dist-info/" not in name} == room_files()


def test_files_that_are_no_modules_are_installed_where_the_package_looks_for_them(wheel):
    for path in (TIERS_FILE, RANGES_FILE, PHANTOM_TABLE):
        assert wheel[path.relative_to(ROOT).as_posix()] == path.read_bytes()
    for name in ("py.typed", "nnunet_plugin/femur_nnunet_trainers.py", "html_report/templates/report.html"):
        assert wheel[f"femur_nnunet/{name}"] == (ROOT / "femur_nnunet" / name).read_bytes()
    assert any(name.startswith("femur_nnunet/drivers/") and name.endswith(".md") for name in wheel)


def test_the_wheel_has_the_commands_of_setup_cfg_and_the_licence(wheel):
    here, there = configparser.ConfigParser(), configparser.ConfigParser()
    here.read(ROOT / "setup.cfg", encoding="utf-8")
    there.read_string(info(wheel, "entry_points.txt"))
    lines = here["options.entry_points"]["console_scripts"].strip().splitlines()
    assert dict(there["console_scripts"]) == dict(line.split(" = ") for line in lines)
    assert info(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_nothing_but_femur_nnunet_lands_in_site_packages(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"femur_nnunet"}


def test_the_metadata_name_the_oldest_python_and_every_tested_one(wheel):
    metadata = email.message_from_string(info(wheel, "METADATA"))
    pythons = [line.rsplit(" ", 1)[1] for line in metadata.get_all("Classifier") if " :: 3." in line]
    assert pythons == ["3.10", "3.11", "3.12", "3.13"]
    assert metadata["Requires-Python"] == f">={pythons[0]}"
    assert (metadata["License-Expression"] or metadata["License"]) == "Apache-2.0"


def test_the_source_archive_has_what_a_reader_needs_and_no_part_of_the_tests(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "setup.cfg", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith("tests")]
