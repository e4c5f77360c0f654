from __future__ import annotations

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from femur_nnunet.plan_settings import FemurPlanSettings, ScheduleSettings
from femur_nnunet.trainers import FemurTrainer


@pytest.mark.parametrize("wanted", [True, False])
def test_whole_validation_scans_are_predicted_only_where_the_plan_wants_it(
        wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called, told = [], []
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", lambda _, save: called.append(save))
    trainer = FemurTrainer.__new__(FemurTrainer)
    trainer.settings = FemurPlanSettings(schedule=ScheduleSettings(whole_scan_validation=wanted))
    trainer.print_to_log_file = told.append
    trainer.perform_actual_validation(True)
    assert called == ([True] if wanted else [])
    assert bool(told) == (not wanted)
