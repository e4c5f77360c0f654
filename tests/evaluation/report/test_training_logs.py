from __future__ import annotations

import json
import math

import pytest

from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.evaluation.report.figures.training import draw_adaptation, draw_probe
from femur_nnunet.evaluation.report.training_logs import read_training_logs


@pytest.fixture
def arm(tmp_path):
    fold = tmp_path / "TransUNetDATrainer__FemurPlans__3d_fullres" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "adaptation.csv").write_text("epoch,segmentation_loss,mmd,site_accuracy,gradient_mmd\n"
                                         "0,1.5,0.3,0.9,\n1,0.5,0.2,0.5,0.01\n")
    (fold / "adaptation.json").write_text(json.dumps({"verdict": "adapting", "reasons": ["falls"],
                                                      "sites": ["tulane", "rochester"]}))
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "probe.csv").write_text(
        "arm,layer,accuracy,ci95_low,ci95_high,chance,p_value\nTransUNetTrainer,bottleneck,0.9,0.7,0.97,0.5,0.01\n")
    return fold.parent


def test_folds_of_an_arm_and_a_probe_are_found(arm, tmp_path):
    logs = read_training_logs([arm, tmp_path / "probe"])
    log, = logs.adaptation
    assert log.name == "TransUNetDATrainer, fold_0"
    assert log.curves["segmentation_loss"] == [1.5, 0.5]
    assert math.isnan(log.curves["gradient_mmd"][0])
    assert (log.chance, log.verdict) == (0.5, "adapting")
    probe, = logs.probe
    assert (probe.arm, probe.accuracy, probe.chance) == ("TransUNetTrainer", 0.9, 0.5)
    assert read_training_logs([arm / "fold_0"]).adaptation == logs.adaptation


def test_curves_and_probe_are_drawn_with_units_and_words(arm, tmp_path):
    logs = read_training_logs([arm, tmp_path / "probe"])
    curves = draw_adaptation("curves", logs.adaptation[0])
    assert "Verdict: adapting" in curves.caption
    assert "over 2 epochs" in curves.svg
    for word in ("epoch", "chance", "accuracy (fraction)"):
        assert f">{word}<" in curves.svg
    assert "TransUNetTrainer, bottleneck: 0.90 (95 % CI 0.70 to 0.97)" in draw_probe(logs.probe).svg


def test_a_folder_that_is_not_there_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_training_logs([tmp_path / "nowhere"])


@pytest.mark.parametrize(("name", "text"), [("adaptation.csv", "epoch,mmd\n0,much\n"), ("probe.csv", "arm\na\n")])
def test_a_broken_log_is_told_in_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(FemurError, match="a broken table"):
        read_training_logs([tmp_path])
