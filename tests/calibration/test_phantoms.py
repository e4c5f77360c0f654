from __future__ import annotations

import json

import pytest

from femur_nnunet.calibration.phantoms import find_phantom, load_phantoms
from femur_nnunet.errors import FemurError
from femur_nnunet.phantom.calibration import PHANTOM_NAMES, ROD_DENSITIES_MG_CC, ROD_DISTANCE_MM, ROD_RADIUS_MM

OWN = {"name": "Mindways Model 3", "unit": "K2HPO4", "relation": "water_and_k2hpo4", "rod_radius_mm": 10,
       "spacing_mm": [30, 40], "rods": [{"density_mg_cc": -51, "water_mg_cc": 1012},
                                        {"density_mg_cc": 58, "water_mg_cc": 1103},
                                        {"density_mg_cc": 375, "water_mg_cc": 923}]}


def write(tmp_path, *entries):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"schema": 1, "phantoms": list(entries)}))
    return path


@pytest.mark.parametrize("unit", ["K2HPO4", "HA"])
def test_the_table_holds_the_rods_of_the_synthetic_kit(unit):
    phantom = find_phantom(load_phantoms(), PHANTOM_NAMES[unit])
    assert phantom is not None
    assert tuple(rod.density_mg_cc for rod in phantom.rods) == ROD_DENSITIES_MG_CC[unit]
    assert (phantom.unit, phantom.rod_radius_mm, phantom.spacing_mm) == (unit, ROD_RADIUS_MM, (ROD_DISTANCE_MM,) * 2)


@pytest.mark.parametrize("name", ["Mindways Model 3", "mindways", "MINDWAYS QCT-Pro", "Mindways Model 3 CT"])
def test_a_phantom_goes_by_several_names(name):
    assert find_phantom(load_phantoms(), name).name == "Mindways Model 3"


def test_an_unknown_phantom_is_none():
    assert find_phantom(load_phantoms(), "water bottle") is None


def test_a_users_table_replaces_a_phantom_of_the_same_name_and_keeps_the_others(tmp_path):
    phantoms = load_phantoms(write(tmp_path, OWN))
    mindways = find_phantom(phantoms, "Mindways Model 3")
    assert [rod.water_mg_cc for rod in mindways.rods] == [1012, 1103, 923]
    assert not mindways.typical_values
    assert len(phantoms) == len(load_phantoms())


@pytest.mark.parametrize("change", [
    {"unit": "mg"}, {"unit": "HA"}, {"relation": "magic"}, {"rods": OWN["rods"][:2]}, {"rod_radius_mm": 0},
    {"spacing_mm": [40, 30]}, {"spacing_mm": [10, 12]}, {"colour": "red"}, {"rods": [{"density_mg_cc": 1}] * 3},
    {"rod_radius_mm": "nan"}])
def test_impossible_phantoms_are_refused_with_their_number(tmp_path, change):
    with pytest.raises(FemurError, match="phantom 1"):
        load_phantoms(write(tmp_path, {**OWN, **change}))


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 2, "phantoms": []}', "no json"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(FemurError, match=r"own\.json"):
        load_phantoms(path)
