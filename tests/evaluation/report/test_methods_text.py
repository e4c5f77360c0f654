from __future__ import annotations

import json
import re
from dataclasses import replace

from evaluation_cohort import case_row

from femur_nnunet.evaluation.agreement import measure_agreement
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.gap_table import measure_gaps
from femur_nnunet.evaluation.report.methods_text import methods_paragraphs, trained_arm, write_methods
from femur_nnunet.evaluation.report.result_tables import ResultTables

ROWS = [case_row("tulane_00000001_v01_l", sex="F", dice=0.9, volume_ref_ml=100.0, volume_pred_ml=101.0),
        case_row("tulane_00000002_v01_l", sex="M", dice=0.9, volume_ref_ml=120.0, volume_pred_ml=121.0),
        case_row("rochester_00000003_v01_l", sex="F", dice=0.8, volume_ref_ml=90.0, volume_pred_ml=91.0),
        case_row("rochester_00000003_v01_r", sex="F", status=CaseStatus.MISSED, dice=0.0)]
RUN = {"command": "femur_eval", "seed": 7, "arguments": {"role": "test", "resamples": 321},
       "versions": {"python": "3.11", "numpy": "2.4", "torch": "not installed"}}


def tables(**changes):
    return replace(ResultTables(ROWS, [], measure_gaps(ROWS, ["tulane"], resamples=0, seed=0),
                                measure_agreement(ROWS, resamples=0, seed=0), run=RUN), **changes)


def test_the_paragraph_tells_the_cohort_that_was_judged():
    told = " ".join(methods_paragraphs(tables())[0])
    assert "Tulane gave 2 hips of 2 participants (1 women, 1 men)" in told
    assert "Rochester gave 2 hips of 1 participant (1 women, 0 men)" in told
    assert "model missed 1 hip" in told
    assert "Labels of Tulane served in training" in told
    assert "321 resamples, seed 7" in told
    assert "python 3.11, numpy 2.4" in told
    assert "torch" not in told


def test_what_was_not_done_is_not_described():
    told = " ".join(methods_paragraphs(tables())[0])
    for absent in ("density", "exture", "Holm", "nnU-Net", "quivalence"):
        assert absent not in told
    margin = tables(agreement=measure_agreement(ROWS, resamples=0, seed=0, tost_margin_ml=2.0))
    assert "Equivalence was tested" in " ".join(methods_paragraphs(margin)[0])
    assert "Density was measured" not in " ".join(methods_paragraphs(tables(density=None))[0])
    assert "bone mineral density" in " ".join(methods_paragraphs(tables(density=[]))[0])


def test_references_are_numbered_as_they_are_cited_and_none_is_left_over():
    paragraphs, references = methods_paragraphs(tables(texture_measured=True))
    cited = [int(number) for marks in re.findall(r"\[([\d, ]+)\]", " ".join(paragraphs)) for number in marks.split(",")]
    assert list(dict.fromkeys(cited)) == list(range(1, len(references) + 1))
    assert [int(reference.split(".")[0]) for reference in references] == list(range(1, len(references) + 1))


def test_a_training_is_told_from_its_folder(tmp_path):
    fold = tmp_path / "TransUNetDATrainer__FemurPlans__3d_fullres" / "fold_2"
    fold.mkdir(parents=True)
    (fold / "adaptation.json").write_text(json.dumps({"terms": ["gradient_reversal", "mmd"]}))
    assert trained_arm(fold) == trained_arm(fold.parent)
    told = " ".join(methods_paragraphs(tables(), [fold])[0])
    assert "TransUNetDATrainer on the plan FemurPlans, configuration 3d_fullres, fold 2" in told
    assert "with a gradient reversal site classifier and maximum mean discrepancy" in told
    assert trained_arm(tmp_path) is None


def test_the_file_holds_paragraphs_and_references(tmp_path):
    text = write_methods(tmp_path, tables()).read_text(encoding="utf-8")
    assert text.startswith("# Methods\n")
    assert "1. Dice LR." in text
