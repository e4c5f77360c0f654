from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import sys

import pytest
from built_distribution import ROOMS, ROOT
from packaging.requirements import Requirement

FAMILIES = {"Apache": "Apache", "BSD": "BSD", "MIT": "MIT", "MPL": "MPL", "Mozilla": "MPL", "PSF": "PSF",
            "Python Software Foundation": "PSF", "matplotlib": "PSF", "GPL": "GPL", "BSL": "BSL", "Zlib": "Zlib",
            "CC0": "CC0", "NVIDIA": "proprietary", "Proprietary": "proprietary"}
# nnU-Net's own look-up imports it.
NOT_IMPORTED = {"torchvision"}
PACKAGE_OF_MODULE = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
# Its metadata points to a file of several licences, which the page sums up.
STATES_NONE = {"dcm2niix"}
WEAK_COPYLEFT = {"connected-components-3d"}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*sections):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    texts = [config["options"]["install_requires"]] if "install" in sections else extras.values()
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return {plain(found.name): found for found in (Requirement(line) for line in lines if line and line[0] != "#")}


def page_rows(heading):
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    table = page.split(heading, 1)[1].split("\n\n", 2)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def families(text):
    return {family for word, family in FAMILIES.items() if word in text}


def stated_licence(name):
    metadata = importlib.metadata.metadata(name)
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return (metadata.get("License-Expression") or " ".join(classifiers)
            or next(iter((metadata.get("License") or "").splitlines()), ""))


TABLES = {"install": page_rows("femur-nnunet itself"), "extras": page_rows("Extras, which")}


@pytest.mark.parametrize("section", TABLES)
def test_the_page_lists_the_direct_dependencies_with_their_ranges(section):
    listed = {plain(name): sorted(filter(None, allowed.split(","))) for name, allowed, _, _ in TABLES[section]}
    assert listed == {name: sorted(map(str, found.specifier)) for name, found in requirements(section).items()}


@pytest.mark.parametrize(("name", "licence"), [(row[0], row[2]) for rows in TABLES.values() for row in rows])
def test_the_page_states_the_licence_that_the_installed_package_states(name, licence):
    assert families(licence)
    try:
        stated = families(stated_licence(name))
    except importlib.metadata.PackageNotFoundError:
        return  # an extra that is not installed
    assert stated or name in STATES_NONE
    assert stated <= families(licence)


def test_every_package_that_the_code_imports_is_named_and_no_other():
    found = set()
    for path in (path for room in ("femur_nnunet", *ROOMS) for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            found |= {module.split(".")[0] for module in modules}
    found -= set(sys.stdlib_module_names) | {"femur_nnunet"}
    packages = {plain(PACKAGE_OF_MODULE.get(module, module)) for module in found}
    assert packages == set(requirements("install")) - NOT_IMPORTED


def test_no_package_that_comes_along_is_under_a_gpl_or_somebodys_property_but_those_on_the_page():
    seen: set[str] = set()
    waiting = list(requirements("install"))
    while waiting:
        name = plain(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [found.name for found in map(Requirement, needed)
                    if found.marker is None or found.marker.evaluate({"extra": ""})]
        kinds = families(stated_licence(name))
        assert "GPL" not in kinds or name in WEAK_COPYLEFT, name
        assert "proprietary" not in kinds or name.startswith(("nvidia-", "cuda-")), name
    assert {"nnunetv2", "batchgenerators", "nibabel"} <= seen
