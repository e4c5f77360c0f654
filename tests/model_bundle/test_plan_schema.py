"""What a plan may not say: each change alone makes a plan that is refused before a network is built."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
from bundle_surgery import with_plan
from tiny_bundle import DATASET, tiny_plans, write_tiny_bundle

from femur_nnunet.errors import FemurError
from femur_nnunet.model_bundle import BundleError, load_bundle
from femur_nnunet.model_bundle.plan_schema import read_inference_facts

FAMILIES = ("transunet", "vnet", "unet")


def read(plans, family="unet", dataset=DATASET, mirror_axes=()):
    return read_inference_facts(plans, dataset, family=family, mirror_axes=mirror_axes, subject="m.zip")


def configuration(plans):
    return plans["configurations"]["3d_fullres"]


def arguments(plans):
    return configuration(plans)["architecture"]["arch_kwargs"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_of_each_family_is_taken(family):
    assert read(tiny_plans(family), family).patch_size == (16, 16, 16)


@pytest.mark.parametrize(("place", "key", "value"), [
    *(("plan", key, value) for key, value in {
        "transpose_forward": [0, 0, 1], "transpose_backward": [1, 0, 2], "label_manager": "os.system",
        "dataset_name": "../../x", "configurations": {}, "image_reader_writer": None, "more": 1,
        "original_median_spacing_after_transp": [1, 1], "foreground_intensity_properties_per_channel": {},
    }.items()),
    *(("configuration", key, value) for key, value in {
        "patch_size": [2**31, 16, 16], "spacing": [0, 1, 1], "normalization_schemes": ["os.system"],
        "use_mask_for_norm": [True], "preprocessor_name": "os.system", "resampling_fn_data": "eval",
        "resampling_fn_probabilities": "posix.system", "resampling_fn_seg_kwargs": {"is_seg": True, "command": "x"},
        "batch_size": 0, "data_identifier": "../x", "inherits_from": "x", "batch_dice": 1,
        "femur_nnunet": {"schema": 1, "unknown": {}}, "previous_stage": "3d_lowres",
    }.items()),
    *(("arguments", key, value) for key, value in {
        "features_per_stage": [10**9, 8, 12], "n_conv_per_stage": [1, 1, 10**6], "n_stages": 4,
        "kernel_sizes": [[1001] * 3] * 3, "strides": [[1, 1, 1], [2, 2, 2], [0, 2, 2]], "conv_op": "os.system",
        "norm_op": "subprocess.Popen", "dropout_op": "builtins.exec", "nonlin": None, "conv_bias": "yes",
        "norm_op_kwargs": {"num_features": 10**12}, "nonlin_kwargs": {"inplace": 1}, "init": "os.system",
        "n_conv_per_stage_decoder": [], "dropout_op_kwargs": [],
    }.items())])
def test_no_key_takes_another_kind_of_value(place, key, value):
    plans = tiny_plans("unet")
    {"plan": lambda p: p, "configuration": configuration, "arguments": arguments}[place](plans)[key] = value
    with pytest.raises(FemurError) as caught:
        read(plans)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_key_may_lack_but_the_blocks_own(family):
    whole = json.dumps(tiny_plans(family))
    for place in (lambda p: p, configuration, arguments):
        for key in place(json.loads(whole)):
            plans = json.loads(whole)
            del place(plans)[key]
            if key in ("femur_nnunet", "dropout_op", "dropout_op_kwargs", "norm_op_kwargs", "nonlin_kwargs", "norm_op"):
                continue
            with pytest.raises(FemurError):
                read(plans, family)


@pytest.mark.parametrize(("key", "value"), [("layers", 10**6), ("width", 10**7), ("width", 9), ("grid", [4, 4, 400]),
                                            ("grid", [2, 2, 2]), ("heads", 0), ("mlp_ratio", 1e9), ("more", 1),
                                            ("stochastic_depth", 1)])
def test_a_transformer_of_other_sizes_is_refused(key, value):
    plans = tiny_plans("transunet")
    arguments(plans)["transformer"][key] = value
    with pytest.raises(BundleError):
        read(plans, "transunet")


@pytest.mark.parametrize("path", ["os.system", "foreign.Network", "femur_nnunet.networks.transunet.TransUNet3D", 3])
def test_a_network_of_another_name_is_refused_and_not_imported(path):
    plans = tiny_plans("unet")
    configuration(plans)["architecture"]["network_class_name"] = path
    with pytest.raises(BundleError):
        read(plans)
    assert "foreign" not in sys.modules


@pytest.mark.parametrize("change", [
    {"labels": {"background": 0, "femur": 1, "ignore": 3}}, {"labels": {"femur": 0}}, {"labels": {"background": 0}},
    {"labels": {"background": 0, "femur": [1, 2]}}, {"channel_names": {"0": "MR"}}, {"channel_names": {}},
    {"channel_names": {"0": "CT", "1": "CT"}}, {"file_ending": "/x"}, {"regions_class_order": [1]}])
def test_another_dataset_is_refused(change):
    with pytest.raises(BundleError):
        read(tiny_plans("unet"), dataset={**DATASET, **change})


def test_left_and_right_are_never_mirrored_whatever_the_order_of_axes():
    plans = tiny_plans("unet")
    assert read(plans, mirror_axes=(0, 1)).mirror_axes == (0, 1)
    with pytest.raises(BundleError, match="mirroring of left and right"):
        read(plans, mirror_axes=(2,))
    plans["transpose_forward"], plans["transpose_backward"] = [2, 0, 1], [1, 2, 0]
    assert read(plans, mirror_axes=(1, 2)).mirror_axes == (1, 2)
    with pytest.raises(BundleError, match="mirroring of left and right"):
        read(plans, mirror_axes=(0,))


@pytest.mark.parametrize("family", FAMILIES)
def test_feature_maps_that_no_machine_holds_are_refused(family):
    """304^3 = 2.8e7 voxels by 64 features are 1.8e9 values (2^31 = 2.1e9), by 128 features twice as many."""
    plans = tiny_plans(family, patch=(304, 304, 304))
    arguments(plans)["features_per_stage"] = [64, 64, 64]
    if family != "transunet":
        assert read(plans, family).patch_size == (304, 304, 304)
    arguments(plans)["features_per_stage"] = [128, 128, 128]
    with pytest.raises(BundleError, match="feature maps of 128 x 28094464 values"):
        read(plans, family)


def test_a_transformer_on_too_many_tokens_is_refused():
    """128^3 with strides of 4 are 32^3 = 32,768 tokens."""
    with pytest.raises(BundleError, match="a transformer on 32768 tokens"):
        read(tiny_plans("transunet", patch=(128, 128, 128)), "transunet")


def widen(plans, *, features, layers):
    arguments(plans)["features_per_stage"] = [features] * 3
    arguments(plans)["n_conv_per_stage"] = [layers] * 3
    arguments(plans)["kernel_sizes"] = [[9, 9, 9]] * 3


def test_a_plan_of_a_terabyte_allocates_nothing(tmp_path):
    """Convolutions of 2048 x 2048 x 9^3 float32 weights, 12 GB each; the file's own shapes give them away."""
    path = write_tiny_bundle(tmp_path / "a.zip", family="unet", folds=("0",))
    bundle = load_bundle(with_plan(path, tmp_path / "b.zip", partial(widen, features=2048, layers=12)))
    with pytest.raises(BundleError, match="another map of shared tensors"):
        bundle.build_networks()
    bundle = load_bundle(with_plan(path, tmp_path / "c.zip", partial(widen, features=2048, layers=1)))
    with pytest.raises(BundleError, match="of another type or shape"):
        bundle.build_networks()
