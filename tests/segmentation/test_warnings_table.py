from __future__ import annotations

import re
from pathlib import Path

from femur_nnunet.model_bundle.manifest import Thresholds
from femur_nnunet.segmentation.warnings_table import CAUTIONS, Caution, CautionLimits

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "segment.md"


def test_every_warning_has_its_rule_and_stands_in_the_document_with_its_gravity():
    assert set(CAUTIONS) == set(Caution)
    rows = dict(re.findall(r"^\| `(\w+)` \| (grave|look|note) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {caution.value: rule.gravity for caution, rule in CAUTIONS.items()}


def test_the_manifests_own_limits_replace_the_defaults(threshold_model):
    manifest = threshold_model.manifest
    assert CautionLimits.of_manifest(manifest) == CautionLimits()
    strict = Thresholds(femur_volume_ml_low=50.0, fold_agreement_dice=0.95)
    limits = CautionLimits.of_manifest(type(manifest)(**{**vars(manifest), "thresholds": strict}))
    assert (limits.femur_volume_ml_low, limits.fold_agreement_dice) == (50.0, 0.95)
    assert limits.largest_share == CautionLimits().largest_share
