"""What a plan in a bundle may say: every key, type and size, so that a plan can neither run nor allocate anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from femur_nnunet.model_bundle.bundle_error import BundleError
from femur_nnunet.model_bundle.strict_json import JsonObject
from femur_nnunet.plan_settings import PLAN_BLOCK_KEY, settings_from_configuration

Family = Literal["transunet", "vnet", "unet"]
FAMILIES: tuple[str, ...] = get_args(Family)
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}"
# The left-right axis of images, which nothing may mirror: axes of files are (z, y, x).
LEFT_RIGHT_AXIS = 2
# Wide enough for nnU-Net's largest presets, far from what would exhaust a machine.
_MOST_STAGES, _MOST_FEATURES, _MOST_CONVOLUTIONS, _LARGEST_KERNEL, _LARGEST_STRIDE = 8, 2048, 12, 9, 4
_PATCH_EDGE, _MOST_PATCH_VOXELS = (4, 512), 320**3
_MOST_LAYERS, _MOST_HEADS, _MOST_WIDTH, _MOST_TOKENS = 48, 64, 4096, 16_384
# Values of a patch's largest feature map: 8 GiB in float32.
_MOST_MAP_VALUES = 2**31
_SPACING_MM = (0.05, 20.0)
_HU = (-70_000.0, 70_000.0)
_RESAMPLERS = ("resample_data_or_seg_to_shape", "resample_torch_fornnunet")
_IMPORTS = ("conv_op", "norm_op", "dropout_op", "nonlin")
_INTENSITIES = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
# What nnU-Net and femur_plan write beside what inference needs; of no use in a bundle and left out of it.
PLAN_KEYS = ("dataset_name", "plans_name", "original_median_spacing_after_transp", "original_median_shape_after_transp",
             "image_reader_writer", "transpose_forward", "transpose_backward", "configurations",
             "experiment_planner_used", "label_manager", "foreground_intensity_properties_per_channel")
CONFIGURATION_KEYS = (
    "data_identifier", "preprocessor_name", "batch_size", "patch_size", "median_image_size_in_voxels", "spacing",
    "normalization_schemes", "use_mask_for_norm", "resampling_fn_data", "resampling_fn_seg",
    "resampling_fn_data_kwargs", "resampling_fn_seg_kwargs", "resampling_fn_probabilities",
    "resampling_fn_probabilities_kwargs", "architecture", "batch_dice", PLAN_BLOCK_KEY)


@dataclass(frozen=True)
class CtNormalisation:
    """nnU-Net's CTNormalization: clip to percentiles of the femur's HU in training, then to mean 0 and SD 1 there.

    Attributes
    ----------
    mean_hu, std_hu : float
        Mean and standard deviation of the foreground.
    lower_hu, upper_hu : float
        Its percentiles 0.5 and 99.5.
    """

    mean_hu: float
    std_hu: float
    lower_hu: float
    upper_hu: float

    def __call__(self, image_hu: NDArray[Any]) -> NDArray[np.float32]:
        """Return the normalised image, of the same shape, as float32; the input is left alone."""
        clipped = np.clip(image_hu.astype(np.float32), self.lower_hu, self.upper_hu)
        clipped -= np.float32(self.mean_hu)
        clipped /= np.float32(max(self.std_hu, 1e-8))
        return clipped


@dataclass(frozen=True)
class Resampling:
    """How nnU-Net resamples: its function, and the keyword arguments that the plan gives it."""

    function: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class InferenceFacts:
    """What prediction has to know of a plan.

    Attributes
    ----------
    configuration : str
        Name of the configuration in the plan, as ``3d_fullres``.
    transpose_forward, transpose_backward : tuple of int
        Order of the image's axes (z, y, x) that the network works in, and the way back. The next four fields are in
        the network's order.
    spacing_mm : tuple of float
        Spacing that images are resampled to.
    patch_size : tuple of int
        Voxels of a patch.
    strides : tuple of int
        Voxels of a patch for one voxel of the coarsest map: edges of patches are multiples of it.
    mirror_axes : tuple of int
        Axes that test-time augmentation may mirror, 0 to 2; never the left-right one.
    normalisation : CtNormalisation
        Of the one channel, CT in HU.
    resampling_image, resampling_probabilities : Resampling
        For the image before, and for logits or probabilities after the network.
    labels : dict of str to int
        Names and values of the classes, the background included.
    """

    configuration: str
    transpose_forward: tuple[int, int, int]
    transpose_backward: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    mirror_axes: tuple[int, ...]
    normalisation: CtNormalisation
    resampling_image: Resampling
    resampling_probabilities: Resampling
    labels: dict[str, int]

    @property
    def n_classes(self) -> int:
        """Number of the network's outputs, the background included."""
        return len(self.labels)


def read_inference_facts(plans: Any, dataset: Any, *, family: str, mirror_axes: tuple[int, ...],
                         subject: str) -> InferenceFacts:
    """Check a plan and a dataset.json in full and return what prediction needs.

    Parameters
    ----------
    plans, dataset : object
        Content of plans.json and dataset.json.
    family : str
        ``transunet``, ``vnet`` or ``unet``: whose arguments the plan has to hold.
    mirror_axes : tuple of int
        From the bundle's manifest.
    subject : str
        What errors are about.

    Raises
    ------
    BundleError
        Anything unknown, missing, of another type, out of range, or not on the lists of what a plan may name.
    """
    content = JsonObject(plans, f"{subject} plans.json")
    forward = _transpose(content, "transpose_forward")
    backward = _transpose(content, "transpose_backward")
    if tuple(forward.index(axis) for axis in range(3)) != backward:
        raise BundleError(f"transposing by {list(forward)} and back by {list(backward)}",
                          expected="the one to undo the other", subject=content.where)
    if forward.index(LEFT_RIGHT_AXIS) in mirror_axes:
        raise BundleError("mirroring of left and right", expected="the other axes alone", subject=subject)
    for key in ("dataset_name", "plans_name", "experiment_planner_used"):
        content.text(key, pattern=NAME_PATTERN)
    content.text("image_reader_writer", pattern=NAME_PATTERN)
    content.text("label_manager", one_of=("LabelManager",))
    content.numbers("original_median_spacing_after_transp", *_SPACING_MM, length=(3, 3))
    content.numbers("original_median_shape_after_transp", 1, 100_000, length=(3, 3))
    normalisation = _normalisation(content.child("foreground_intensity_properties_per_channel"))
    configurations = content.child("configurations")
    if len(configurations.keys()) != 1:
        raise BundleError(f"{len(configurations.keys())} configurations", expected="one", subject=content.where)
    name = configurations.keys()[0]
    if name != "3d_fullres":
        raise BundleError("another configuration", expected="3d_fullres", subject=content.where)
    configuration = configurations.child(name)
    content.close()
    patch = configuration.wholes("patch_size", *_PATCH_EDGE, length=(3, 3))
    if math.prod(patch) > _MOST_PATCH_VOXELS:
        raise BundleError(f"a patch of {math.prod(patch)} voxels", expected=f"at most {_MOST_PATCH_VOXELS}",
                          subject=configuration.where)
    architecture = configuration.child("architecture")
    strides = _check_architecture(architecture, family, patch, own=PLAN_BLOCK_KEY in configuration)
    spacing = configuration.numbers("spacing", *_SPACING_MM, length=(3, 3))
    resampling = {what: _resampling(configuration, what) for what in ("data", "seg", "probabilities")}
    _check_rest(configuration)
    return InferenceFacts(
        configuration=name, transpose_forward=forward, transpose_backward=backward, spacing_mm=_three(spacing),
        patch_size=_three(patch), strides=strides, mirror_axes=mirror_axes, normalisation=normalisation,
        resampling_image=resampling["data"], resampling_probabilities=resampling["probabilities"],
        labels=_labels(JsonObject(dataset, f"{subject} dataset.json")))


def _three(values: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    first, second, third = values
    return first, second, third


def _transpose(content: JsonObject, key: str) -> tuple[int, int, int]:
    order = content.wholes(key, 0, 2, length=(3, 3))
    if sorted(order) != [0, 1, 2]:
        raise BundleError(f"{list(order)} for {key}", expected="0, 1 and 2 in some order", subject=content.where)
    return _three(order)


def _normalisation(channels: JsonObject) -> CtNormalisation:
    properties = channels.child("0")
    channels.close()
    values = {key: properties.number(key, 0 if key == "std" else _HU[0], _HU[1]) for key in _INTENSITIES}
    properties.close()
    if not values["percentile_00_5"] < values["percentile_99_5"] or not values["std"] > 0:
        raise BundleError("foreground intensities without spread", expected="percentile_00_5 below percentile_99_5, "
                          "std above 0", subject=properties.where)
    return CtNormalisation(values["mean"], values["std"], values["percentile_00_5"], values["percentile_99_5"])


def _resampling(configuration: JsonObject, what: str) -> Resampling:
    function = configuration.text(f"resampling_fn_{what}", one_of=_RESAMPLERS)
    given = configuration.child(f"resampling_fn_{what}_kwargs")
    arguments: dict[str, Any] = {"is_seg": given.flag("is_seg")}
    arguments["force_separate_z"] = None if given.is_null("force_separate_z") else given.flag("force_separate_z")
    if function == _RESAMPLERS[0]:
        arguments |= {key: given.whole(key, 0, 5) for key in ("order", "order_z")}
    elif "memefficient_seg_resampling" in given:
        arguments["memefficient_seg_resampling"] = given.flag("memefficient_seg_resampling")
    given.close()
    return Resampling(function, arguments)


def _check_rest(configuration: JsonObject) -> None:
    configuration.text("data_identifier", pattern=NAME_PATTERN)
    configuration.text("preprocessor_name", one_of=("DefaultPreprocessor",))
    configuration.whole("batch_size", 1, 4096)
    configuration.numbers("median_image_size_in_voxels", 1, 100_000, length=(3, 3))
    if len(configuration.texts("normalization_schemes", most=1, one_of=("CTNormalization",))) != 1:
        raise BundleError("no normalisation", expected="CTNormalization", subject=configuration.where)
    if configuration.raw("use_mask_for_norm") != [False]:
        raise BundleError("normalisation by a mask", expected="use_mask_for_norm [false]", subject=configuration.where)
    configuration.flag("batch_dice")
    if PLAN_BLOCK_KEY in configuration:
        settings_from_configuration({PLAN_BLOCK_KEY: configuration.raw(PLAN_BLOCK_KEY)})
    configuration.close()


def _check_architecture(architecture: JsonObject, family: str, patch: tuple[int, ...], *, own: bool
                        ) -> tuple[int, int, int]:
    """Check the network's arguments and return the product of strides along each axis."""
    # Imported here: it brings torch.
    from femur_nnunet.networks.from_plan import BUILDING_BLOCKS, NETWORK_FAMILIES

    named = architecture.text("network_class_name", one_of=tuple(NETWORK_FAMILIES))
    if own and NETWORK_FAMILIES[named] != family:
        raise BundleError(f"the network {named}", expected=f"one of the family {family}", subject=architecture.where)
    imports = architecture.texts("_kw_requires_import", most=len(_IMPORTS), one_of=_IMPORTS)
    given = architecture.child("arch_kwargs")
    architecture.close()
    # On a stock plan our trainers derive their own network's arguments from the U-Net's.
    kind = NETWORK_FAMILIES[named]
    features = given.wholes("features_per_stage", 1, _MOST_FEATURES, length=(1, _MOST_STAGES))
    stages = len(features)
    strides = given.whole_rows("strides", 1, _LARGEST_STRIDE, length=(stages, stages), width=3)
    given.whole_rows("kernel_sizes", 1, _LARGEST_KERNEL, length=(stages, stages), width=3)
    # Residual encoders have blocks of convolutions in place of single ones.
    down = "n_blocks_per_stage" if "n_blocks_per_stage" in given and kind == "unet" else "n_conv_per_stage"
    given.wholes(down, 1, _MOST_CONVOLUTIONS, length=(stages, stages))
    given.wholes("n_conv_per_stage_decoder", 1, _MOST_CONVOLUTIONS, length=(stages - 1, stages - 1))
    given.flag("conv_bias")
    blocks = [("norm_op", True)]
    if kind != "vnet":
        given.whole("n_stages", stages, stages)
        blocks += [("nonlin", False), ("dropout_op", True), ("conv_op", False)]
    for name, may_lack in blocks:
        if not (may_lack and given.is_null(name)):
            given.text(name, one_of=tuple(BUILDING_BLOCKS))
            if name not in imports and kind != "vnet":
                raise BundleError(f"{name} not to be imported", expected="it in _kw_requires_import",
                                  subject=architecture.where)
    _check_block_arguments(given, kind)
    per_axis = tuple(math.prod(stage[axis] for stage in strides) for axis in range(3))
    if any(size % step for size, step in zip(patch, per_axis, strict=True)):
        raise BundleError(f"a patch {list(patch)} for strides of {list(per_axis)}", expected="multiples",
                          subject=given.where)
    _check_map_sizes(patch, features, strides, given.where)
    grid = [size // step for size, step in zip(patch, per_axis, strict=True)]
    if family == "transunet" and math.prod(grid) > _MOST_TOKENS:
        raise BundleError(f"a transformer on {math.prod(grid)} tokens", expected=f"at most {_MOST_TOKENS}",
                          subject=given.where)
    if kind == "transunet":
        _check_transformer(given.child("transformer"), grid)
    given.close()
    return _three(per_axis)


def _check_map_sizes(patch: tuple[int, ...], features: tuple[int, ...], strides: tuple[tuple[int, ...], ...],
                     where: str) -> None:
    voxels = math.prod(patch)
    for width, stride in zip(features, strides, strict=True):
        voxels //= math.prod(stride)
        if width * voxels > _MOST_MAP_VALUES:
            raise BundleError(f"feature maps of {width} x {voxels} values", expected=f"at most {_MOST_MAP_VALUES}",
                              subject=where)


def _check_block_arguments(given: JsonObject, kind: str) -> None:
    for name in ("norm_op_kwargs", "dropout_op_kwargs", "nonlin_kwargs") if kind != "vnet" else ("norm_op_kwargs",):
        if given.is_null(name):
            continue
        arguments = given.child(name)
        for key in arguments.keys():  # noqa: SIM118 (an object of JSON, no mapping)
            if key in ("affine", "inplace"):
                arguments.flag(key)
            elif key in ("eps", "negative_slope"):
                arguments.number(key, 0, 1)
        arguments.close()


def _check_transformer(transformer: JsonObject, grid: list[int]) -> None:
    transformer.whole("layers", 0, _MOST_LAYERS)
    heads = transformer.whole("heads", 1, _MOST_HEADS)
    width = transformer.whole("width", 1, _MOST_WIDTH)
    transformer.number("mlp_ratio", 0.1, 16)
    transformer.number("stochastic_depth", 0, 0.99)
    given = list(transformer.wholes("grid", 1, _PATCH_EDGE[1], length=(3, 3)))
    if width % heads or given != grid:
        raise BundleError(f"a transformer of width {width}, {heads} heads and a grid {given}",
                          expected=f"a width that the heads share, and the grid {grid}", subject=transformer.where)
    transformer.close()


def _labels(dataset: JsonObject) -> dict[str, int]:
    channels = dataset.child("channel_names")
    channels.text("0", one_of=("CT",))
    channels.close()
    dataset.text("file_ending", pattern=r"\.[a-z0-9.]{1,10}")
    if "numTraining" in dataset:
        dataset.whole("numTraining", 0, 10_000_000)
    if "overwrite_image_reader_writer" in dataset:
        dataset.text("overwrite_image_reader_writer", one_of=("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"))
    given = dataset.child("labels")
    dataset.close()
    names = given.keys()
    labels: Mapping[str, int] = {name: given.whole(name, 0, 254) for name in names}
    if not 2 <= len(labels) <= 64 or sorted(labels.values()) != list(range(len(labels))) or labels.get(
            "background") != 0 or any(len(name) > 60 for name in names):
        raise BundleError("other labels", expected="background 0 and classes 1, 2, ... with names",
                          subject=given.where)
    return dict(labels)
