"""A plan of a TransUNet small enough for tests."""

from __future__ import annotations

from femur_nnunet.plan_settings import ArchitectureSettings, FemurPlanSettings


def configuration(*, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)), patch=(16, 16, 16), own_block=True,
                  family="transunet", checkpointing=False, stochastic_depth=0.5) -> dict:
    kwargs = {"n_stages": 3, "features_per_stage": [4, 8, 12], "conv_op": "torch.nn.modules.conv.Conv3d",
              "kernel_sizes": [[3, 3, 3]] * 3, "strides": [list(s) for s in strides], "n_conv_per_stage": [1, 1, 1],
              "n_conv_per_stage_decoder": [1, 1], "conv_bias": True,
              "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"affine": True},
              "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
              "nonlin_kwargs": {"inplace": True}}
    plan = {"patch_size": list(patch), "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}}
    if own_block:
        plan["femur_nnunet"] = FemurPlanSettings(architecture=ArchitectureSettings(
            family=family, activation_checkpointing=checkpointing)).to_dict()
        grid = [p // (strides[1][a] * strides[2][a]) for a, p in enumerate(patch)]
        kwargs["transformer"] = {"layers": 2, "heads": 2, "width": 8, "mlp_ratio": 2.0,
                                 "stochastic_depth": stochastic_depth, "grid": grid}
    return plan
