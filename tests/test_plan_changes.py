from __future__ import annotations

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.plan_changes import with_changes
from femur_nnunet.plan_settings import FemurPlanSettings


def test_changed_settings_differ_in_these_alone():
    base = FemurPlanSettings()
    changed = with_changes(base, ["adaptation.mmd_weight=0.3", "augmentation.nnunet_intensity=false",
                                  "adaptation.reversal_schedule=ganin", "augmentation.mirror_axes=[\"z\"]"])
    assert changed.adaptation.mmd_weight == 0.3
    assert changed.augmentation.nnunet_intensity is False
    assert changed.adaptation.reversal_schedule == "ganin"
    assert changed.augmentation.mirror_axes == ("z",)
    assert with_changes(changed, ["adaptation.mmd_weight=0.1", "augmentation.nnunet_intensity=true",
                                  "adaptation.reversal_schedule=delayed_ramp", "augmentation.mirror_axes=[]"]) == base


@pytest.mark.parametrize("change", ["adaptation.mmd_weight", "mmd_weight=1", "adaptation.mmd_wait=1", "schema.x=2",
                                    "adaptation.mmd_weight=much", "adaptation.mmd_weight=-1",
                                    "augmentation.nnunet_intensity=1", "augmentation.mirror_axes=[\"x\"]"])
def test_a_change_that_the_plan_could_not_hold_is_refused(change):
    with pytest.raises(UsageError):
        with_changes(FemurPlanSettings(), [change])


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"adaptation\.mmd_weight"):
        with_changes(FemurPlanSettings(), ["adaptation.mmd=1"])
