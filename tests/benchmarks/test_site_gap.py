from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import site_gap
from site_gap_arms import ARMS, CPU, GPU, Run

from femur_nnunet.errors import FemurError

RUN = Run("plus", "moderate", 101, CPU, Path("work"))


def test_other_settings_of_a_training_are_another_network_and_other_results(monkeypatch):
    others = [replace(RUN, size=replace(CPU, epochs=CPU.epochs + 1)), replace(RUN, size=GPU)]
    seen = {(run.network_folder, run.results_folder, run.plans_name) for run in (RUN, *others)}
    monkeypatch.setitem(ARMS, "plus", replace(ARMS["plus"], changes=("adaptation.mmd_weight=0.5",)))
    seen.add((RUN.network_folder, RUN.results_folder, RUN.plans_name))
    assert [len(set(column)) for column in zip(*seen, strict=True)] == [4, 4, 4]


def test_a_networks_folder_does_not_change_with_the_number_of_processes():
    assert replace(RUN, jobs=7).network_folder == RUN.network_folder


def test_cohorts_of_label_maps_lie_apart():
    assert replace(RUN, label_maps=Path("maps")).root != RUN.root


def test_a_run_is_done_when_its_own_row_stands(tmp_path):
    path = tmp_path / "site_gap.csv"
    assert not site_gap.is_done(path, RUN)
    site_gap.add_rows(path, [{**site_gap.keys(RUN), "dice": 0.9}])
    assert site_gap.is_done(path, RUN)
    for other in (replace(RUN, seed=102), replace(RUN, arm="oracle"), replace(RUN, tier="mild"),
                  replace(RUN, size=replace(CPU, epochs=3)), replace(RUN, label_maps=Path("maps"))):
        assert not site_gap.is_done(path, other)


def test_rows_are_not_added_below_other_columns(tmp_path):
    path = tmp_path / "site_gap.csv"
    site_gap.add_rows(path, [{"arm": "grl", "dice": 0.9}])
    site_gap.add_rows(path, [{"arm": "mmd", "dice": 0.8}])
    with pytest.raises(FemurError, match="columns arm, dice"):
        site_gap.add_rows(path, [{"arm": "mmd", "hd95_mm": 2.0}])
    assert path.read_text() == "arm,dice\ngrl,0.9\nmmd,0.8\n"
