from __future__ import annotations

import json

import pytest

from femur_nnunet.drivers.study.grid import candidates_of, grid_of_options, read_grid_file
from femur_nnunet.errors import FemurError, UsageError


def test_options_give_all_combinations_the_first_changing_slowest():
    assert grid_of_options(["vnet.l2_weight=1e-6,1e-5", "optimiser.learning_rate=1e-3, 2e-3"]) == [
        ("vnet.l2_weight=1e-6", "optimiser.learning_rate=1e-3"),
        ("vnet.l2_weight=1e-6", "optimiser.learning_rate=2e-3"),
        ("vnet.l2_weight=1e-5", "optimiser.learning_rate=1e-3"),
        ("vnet.l2_weight=1e-5", "optimiser.learning_rate=2e-3")]
    assert grid_of_options([]) == []


@pytest.mark.parametrize("option", ["vnet.l2_weight", "=1", "vnet.l2_weight=", "vnet.l2_weight=1,,2"])
def test_an_option_of_another_form_is_told(option):
    with pytest.raises(UsageError, match="expected KEY=V1,V2"):
        grid_of_options([option])


def test_a_key_given_twice_is_told():
    with pytest.raises(UsageError, match=r"--grid vnet.l2 twice"):
        grid_of_options(["vnet.l2=weights", "vnet.l2=residual"])


def test_a_file_holds_lists_or_candidates(tmp_path):
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"vnet.l2": ["weights", "residual"], "augmentation.mirror_axes": [["z"]]}))
    assert read_grid_file(path) == [('vnet.l2="weights"', 'augmentation.mirror_axes=["z"]'),
                                    ('vnet.l2="residual"', 'augmentation.mirror_axes=["z"]')]
    path.write_text(json.dumps([{"vnet.l2": "weights", "vnet.l2_weight": 1e-5},
                                {"vnet.l2": "residual", "vnet.l2_weight": 1.0}]))
    assert read_grid_file(path) == [('vnet.l2="weights"', "vnet.l2_weight=1e-05"),
                                    ('vnet.l2="residual"', "vnet.l2_weight=1.0")]


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"vnet.l2": "weights"}', '{"vnet.l2": []}', "[{}]"])
def test_a_file_of_another_form_is_told(tmp_path, content):
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(UsageError, match="a grid of another form"):
        read_grid_file(tmp_path / "grid.json")


def test_a_missing_or_broken_file_is_told(tmp_path):
    with pytest.raises(FemurError, match="no such file"):
        read_grid_file(tmp_path / "grid.json")
    (tmp_path / "grid.json").write_text("{")
    with pytest.raises(FemurError, match="unreadable content"):
        read_grid_file(tmp_path / "grid.json")


def test_settings_that_an_architecture_does_not_read_make_no_candidates_of_it():
    grid = grid_of_options(["vnet.l2_weight=1e-6,1e-5", "optimiser.learning_rate=1e-3,2e-3"])
    assert len(candidates_of(grid, "vnet")) == 4
    assert candidates_of(grid, "transunet") == [("optimiser.learning_rate=1e-3",), ("optimiser.learning_rate=2e-3",)]
    assert candidates_of([], "vnet") == [()]
