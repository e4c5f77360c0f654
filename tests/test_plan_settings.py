from __future__ import annotations

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.plan_settings import FemurPlanSettings, settings_from_configuration


def test_a_plan_without_the_block_gets_the_defaults():
    assert settings_from_configuration({"patch_size": [1, 2, 3]}) == FemurPlanSettings()


def test_settings_survive_the_way_through_a_plan():
    settings = FemurPlanSettings()
    assert settings_from_configuration({"femur_nnunet": settings.to_dict()}) == settings


def test_an_unknown_key_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(UsageError, match=r"unknown domain_wieght.*domain_weight.*mmd_weight"):
        settings_from_configuration({"femur_nnunet": {"schema": 1, "adaptation": {"domain_wieght": 0.5}}})


def test_an_unknown_block_is_refused():
    with pytest.raises(UsageError, match=r"unknown adaption"):
        settings_from_configuration({"femur_nnunet": {"schema": 1, "adaption": {}}})


def test_another_schema_is_refused():
    with pytest.raises(UsageError, match="schema 2"):
        settings_from_configuration({"femur_nnunet": {"schema": 2}})


@pytest.mark.parametrize(("block", "values", "message"), [
    ("augmentation", {"mirror_axes": ["x"]}, "mirroring along x"),
    ("adaptation", {"reversal_schedule": "sudden"}, "'sudden' for adaptation.reversal_schedule"),
    ("adaptation", {"ramp_start": 0.6, "ramp_end": 0.5}, "a ramp from 0.6 to 0.5"),
    ("schedule", {"epochs": "many"}, "'many' for epochs"),
    ("architecture", {"family": "resnet"}, "'resnet' for architecture.family"),
    ("architecture", {"normalisation": "layer"}, "'layer' for architecture.normalisation"),
    ("architecture", {"normalisation": "batch", "activation_checkpointing": True},
     "found activation_checkpointing with normalisation batch; expected one of the two"),
    ("schedule", {"epochs": 0}, "0 for schedule.epochs"),
    ("sampling", {"foreground_fraction": 7}, "7.0 for sampling.foreground_fraction"),
    ("adaptation", {"mmd_weight": float("nan")}, "nan for adaptation.mmd_weight"),
    ("adaptation", {"mmd_bandwidths": []}, "no adaptation.mmd_bandwidths"),
    ("adaptation", {"mmd_bandwidths": ["a"]}, "'a' for adaptation.mmd_bandwidths"),
    ("adaptation", {"layers": []}, r"adaptation.layers \[\]"),
    ("adaptation", {"layers": ["bottleneck", "bottleneck"]}, "each once"),
    ("adaptation", {"layers": ["skip_1"]}, "at least one of bottleneck, encoder_K, decoder_K"),
    ("adaptation", {"mmd_queue_patches": -1}, "-1 for adaptation.mmd_queue_patches"),
    ("teacher", {"decay": 1.5}, "1.5 for teacher.decay"),
    ("teacher", {"ramp_end": 0.0}, "0.0 for teacher.ramp_end"),
    ("selection", {"source_weight": 2.0}, "2.0 for selection.source_weight"),
    ("sampling", {"labelled_patches": -2}, "-2 for sampling.labelled_patches"),
])
def test_a_bad_value_is_refused_by_name(block, values, message):
    with pytest.raises(UsageError, match=message):
        settings_from_configuration({"femur_nnunet": {"schema": 1, block: values}})


def test_a_block_that_is_no_object_is_refused():
    with pytest.raises(UsageError, match="found another form"):
        settings_from_configuration({"femur_nnunet": {"schema": 1, "adaptation": None}})


def test_whole_numbers_are_taken_for_lengths_and_weights():
    settings = settings_from_configuration({"femur_nnunet": {"schema": 1, "adaptation": {"domain_weight": 1}}})
    assert settings.adaptation.domain_weight == 1.0
