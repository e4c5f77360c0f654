from __future__ import annotations

import json
from dataclasses import replace

import pytest

from femur_nnunet import trainers
from femur_nnunet.cohort import read_scans_table, write_scans_table
from femur_nnunet.drivers.study.protocol import TRAINER_ARCHITECTURE, arms_of, load_study_data
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.planners.plan_options import PlanOptions
from femur_nnunet.splits import SplitSet, read_splits, write_splits

BASE = PlanOptions(501, preset="cpu", name="study")


def test_every_trainer_has_its_architecture():
    assert set(TRAINER_ARCHITECTURE) == set(trainers.__all__)


def test_folds_and_test_cases_of_each_cohort_are_found(study_root):
    data = load_study_data(501, study_root / "out", ())
    assert [(cohort.name, cohort.folds) for cohort in data.cohorts] == [
        ("all", (0, 1)), ("women", (2, 3)), ("men", (4, 5))]
    # Two test participants a site, one woman and one man, with both hips.
    assert [len(cohort.test) for cohort in data.cohorts] == [8, 4, 4]
    sexes = {record.case_id: record.sex for record in data.records}
    assert {sexes[case] for case in data.cohorts[1].test} == {"F"}
    assert data.selection_cohort.name == "all"
    assert load_study_data(501, study_root / "out", ("men",)).selection_cohort.name == "men"


def test_a_cohort_without_folds_is_told_with_the_command(study_root):
    raw = study_root / "nnUNet_raw" / "Dataset501_Toy"
    whole = read_splits(raw)
    write_splits(raw, SplitSet(whole.folds[:2], whole.index[:2], whole.test))
    with pytest.raises(UsageError, match=r"no folds of women \(there are all\).*-d 501 --cohorts all,women"):
        load_study_data(501, study_root / "out", ("all", "women"))


def test_folds_edited_by_hand_are_refused(study_root):
    path = study_root / "nnUNet_raw" / "Dataset501_Toy" / "splits.json"
    folds = json.loads(path.read_text())
    folds[0]["train"].pop()
    path.write_text(json.dumps(folds))
    with pytest.raises(FemurError, match="changed: fold 0"):
        load_study_data(501, study_root / "out", ())


def test_a_test_case_that_the_table_calls_training_is_refused(study_root):
    table = study_root / "nnUNet_raw" / "Dataset501_Toy" / "scans.tsv"
    records = read_scans_table(table)
    victim = next(record.case_id for record in records if record.role == "test")
    write_scans_table(table, [replace(r, role="train") if r.case_id == victim else r for r in records])
    with pytest.raises(FemurError, match=f"{victim} in the locked test list, without a row of role test"):
        load_study_data(501, study_root / "out", ())


def test_a_missing_test_mask_is_told_before_anything_is_trained(study_root):
    mask = next((study_root / "nnUNet_raw" / "Dataset501_Toy" / "labelsTs").iterdir())
    mask.unlink()
    with pytest.raises(FemurError, match=f"no file labelsTs/{mask.name}"):
        load_study_data(501, study_root / "out", ())


def test_a_cohort_without_test_cases_is_told(study_root):
    table = study_root / "nnUNet_raw" / "Dataset501_Toy" / "scans.tsv"
    write_scans_table(table, [replace(r, sex="M") if r.role == "test" else r for r in read_scans_table(table)])
    with pytest.raises(UsageError, match="no labelled test case of the cohort women"):
        load_study_data(501, study_root / "out", ())


def test_plans_of_other_settings_have_other_names():
    arms = arms_of(["VNetDiceL2Trainer", "TransUNetTrainer"], BASE,
                   [("vnet.l2_weight=1e-6",), ("vnet.l2_weight=1e-5",)])
    names = [arm.plans_name for arm in arms["VNetDiceL2Trainer"]]
    assert len(set(names)) == 2
    assert all(name.startswith("FemurVNetPlans_cpu_study") for name in names)
    assert [arm.settings for arm in arms["TransUNetTrainer"]] == ["as planned"]
    other = arms_of(["TransUNetTrainer"], replace(BASE, epochs=5), [])
    assert other["TransUNetTrainer"][0].plans_name != arms["TransUNetTrainer"][0].plans_name
    again = arms_of(["VNetDiceL2Trainer"], BASE, [("vnet.l2_weight=1e-6",)])
    assert again["VNetDiceL2Trainer"][0].plans_name == names[0]


@pytest.mark.parametrize(("named", "grid", "message"), [
    (["NoTrainer"], [], "the trainer 'NoTrainer'"),
    (["VNetDiceL2Trainer", "VNetDiceL2Trainer:P"], [], "VNetDiceL2Trainer twice"),
    (["VNetDiceL2Trainer:P"], [("vnet.l2_weight=1",)], "--grid or --set beside VNetDiceL2Trainer:P"),
    (["VNetDiceL2Trainer"], [("vnet.l3=1",)], "the setting 'vnet.l3'"),
    (["VNetDiceL2Trainer"], [('vnet.l2="both"',)], "'both' for vnet.l2"),
    (["TransUNetTrainer"], [("vnet.l2_weight=1",)], "--grid vnet.l2_weight, which none of TransUNetTrainer reads")])
def test_wrong_trainers_and_grids_are_told_before_anything_is_trained(named, grid, message):
    with pytest.raises(UsageError, match=message):
        arms_of(named, BASE, grid)
