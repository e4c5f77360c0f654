"""The experiment planner: fixes exactly one configuration, 3d_fullres, sized to the memory given."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from femur_nnunet.errors import FemurError
from femur_nnunet.files import write_json
from femur_nnunet.networks.from_plan import (
    NORMALISATION_PATHS,
    TRANSUNET_CLASS_PATH,
    VNET_CLASS_PATH,
    VNET_IMPORTS,
    transformer_sizes,
    vnet_sizes,
)
from femur_nnunet.plan_settings import PLAN_BLOCK_KEY, FemurPlanSettings
from femur_nnunet.planners.plan_options import CONFIGURATION
from femur_nnunet.planners.presets import Preset

_SMALLEST_EDGE = 8


class FemurPlanner(ExperimentPlanner):
    """nnU-Net's planner, held to ``3d_fullres`` and to our networks.

    Parameters
    ----------
    dataset_id : int
        nnU-Net's number of the dataset.
    preset : Preset
        Sizes of the machine.
    settings : FemurPlanSettings
        The plan's own block; its architecture says which network is sized.
    plans_name, data_identifier : str
        Name of the plan, and of the folder of data that it shares with plans of the same spacing.
    spacing_mm_zyx : tuple of float, optional
        Spacing in place of the preset's or the median.
    n_sites : int
        Sites with training scans: the batch holds the same number of patches of each.
    """

    def __init__(self, dataset_id: int, *, preset: Preset, settings: FemurPlanSettings, plans_name: str,
                 data_identifier: str, spacing_mm_zyx: tuple[float, ...] | None = None, n_sites: int = 2) -> None:
        chosen = spacing_mm_zyx or preset.spacing_mm_zyx
        super().__init__(dataset_id, gpu_memory_target_in_gb=preset.gpu_memory_gb, plans_name=plans_name,
                         overwrite_target_spacing=[float(value) for value in chosen] if chosen else None)
        self.preset = preset
        self.settings = settings
        self.n_sites = n_sites
        self.data_identifier = data_identifier
        self.UNet_base_num_features = preset.base_features
        self.UNet_max_features_3d = preset.max_features

    def plan_experiment(self) -> dict[str, Any]:
        """Plan, write the plan and return it."""
        forward, backward = self.determine_transpose()
        spacing = np.asarray(self.determine_fullres_target_spacing(), dtype=float)
        fingerprint = self.dataset_fingerprint
        shapes = [compute_new_shape(shape, own_spacing, spacing) for own_spacing, shape in
                  zip(fingerprint["spacings"], fingerprint["shapes_after_crop"], strict=True)]
        median_shape = np.median(shapes, axis=0)[forward]
        cases = len(fingerprint["spacings"])
        configuration = self.get_plans_for_configuration(
            spacing[forward], median_shape, self.data_identifier, float(np.prod(median_shape)) * cases, {})
        self.plans = {
            "dataset_name": self.dataset_name,
            "plans_name": self.plans_identifier,
            "original_median_spacing_after_transp": [
                float(value) for value in np.median(fingerprint["spacings"], axis=0)[forward]],
            "original_median_shape_after_transp": [
                round(float(value)) for value in np.median(fingerprint["shapes_after_crop"], axis=0)[forward]],
            "image_reader_writer": self.determine_reader_writer().__name__,
            "transpose_forward": [int(axis) for axis in forward],
            "transpose_backward": [int(axis) for axis in backward],
            "configurations": {CONFIGURATION: configuration},
            "experiment_planner_used": type(self).__name__,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": fingerprint[
                "foreground_intensity_properties_per_channel"],
        }
        self.save_plans(self.plans)
        return self.plans

    def get_plans_for_configuration(self, spacing: Any, median_shape: Any, data_identifier: str,
                                    approximate_n_voxels_dataset: float, _cache: dict) -> dict[str, Any]:
        """Return nnU-Net's plan for our network: patch within the median shape, ``batch_dice`` off."""
        limit = np.minimum(median_shape, self.preset.largest_patch or np.inf)
        fitting = largest_fitting_patch(spacing, [int(edge) for edge in limit])
        plan = super().get_plans_for_configuration(spacing, np.asarray(fitting, dtype=float), data_identifier,
                                                   approximate_n_voxels_dataset, _cache)
        plan["median_image_size_in_voxels"] = median_shape
        plan["batch_dice"] = False
        if self.preset.batch_size is not None:
            plan["batch_size"] = self.preset.batch_size
        share = max(1, plan["batch_size"] // self.n_sites)
        plan["batch_size"] = max(2, share * self.n_sites)
        plan["architecture"]["arch_kwargs"]["norm_op"] = NORMALISATION_PATHS[self.settings.architecture.normalisation]
        if self.settings.architecture.family == "transunet":
            kwargs = plan["architecture"]["arch_kwargs"]
            kwargs["transformer"] = transformer_sizes(self.settings.architecture, kwargs, plan["patch_size"])
            plan["architecture"]["network_class_name"] = TRANSUNET_CLASS_PATH
        elif self.settings.architecture.family == "vnet":
            plan["architecture"] = {"network_class_name": VNET_CLASS_PATH, "_kw_requires_import": VNET_IMPORTS,
                                    "arch_kwargs": vnet_sizes(self.settings.vnet, plan["architecture"]["arch_kwargs"])}
        plan[PLAN_BLOCK_KEY] = self.settings.to_dict()
        return plan

    def static_estimate_VRAM_usage(self, patch_size: Any, input_channels: int, output_channels: int,  # type: ignore[override] # noqa: N802
                                   arch_class_name: str, arch_kwargs: dict[str, Any],
                                   arch_kwargs_req_import: Any) -> float:
        """Return the number of feature-map values of a patch, those of the transformer included."""
        kwargs = dict(arch_kwargs)
        if self.settings.architecture.family == "transunet":
            arch_class_name = TRANSUNET_CLASS_PATH
            kwargs["transformer"] = transformer_sizes(self.settings.architecture, kwargs, list(patch_size))
        elif self.settings.architecture.family == "vnet":
            arch_class_name, arch_kwargs_req_import = VNET_CLASS_PATH, VNET_IMPORTS
            kwargs = vnet_sizes(self.settings.vnet, kwargs)
        network = get_network_from_plans(arch_class_name, kwargs, arch_kwargs_req_import, input_channels,
                                         output_channels, allow_init=False, deep_supervision=True)
        return float(network.compute_conv_feature_map_size(patch_size))

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write the plan atomically; nnU-Net's own method would merge configurations of an older one."""
        recursive_fix_for_json_export(plans)
        folder = Path(str(nnUNet_preprocessed)) / self.dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(self.raw_dataset_folder) / "dataset.json", folder / "dataset.json")
        write_json(folder / f"{self.plans_identifier}.json", plans)


def largest_fitting_patch(spacing_mm: Any, largest: list[int]) -> list[int]:
    """Return the largest patch whose edges the network can halve as often as it wants and that fits ``largest``.

    nnU-Net pads a patch up to the next multiple of its strides, which can exceed the images.

    Raises
    ------
    FemurError
        An edge is below 8 voxels: no network can be planned on such images.
    """
    patch = list(largest)
    while True:
        if min(patch) < _SMALLEST_EDGE:
            raise FemurError(f"images of {'x'.join(map(str, largest))} voxels at the planned spacing",
                             expected=f"at least {_SMALLEST_EDGE} voxels along each axis",
                             action="give a finer --spacing, or convert scans that show more of the hip")
        _, _, _, padded, _ = get_pool_and_conv_props(spacing_mm, patch, 4, 999999)
        if all(edge <= limit for edge, limit in zip(padded, largest, strict=True)):
            return [int(edge) for edge in padded]
        # One voxel at a time: a shorter edge may be halved less often and then need less padding, so
        # that a jump by the present multiple would pass over sizes that fit (56 below 60, say).
        patch = [edge - 1 if full > limit else edge for edge, full, limit in zip(patch, padded, largest, strict=True)]
