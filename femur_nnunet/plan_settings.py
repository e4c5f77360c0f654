"""The block ``femur_nnunet`` of a plan: every decision of the trainers, with a documented default.

It lies in ``configurations.3d_fullres.femur_nnunet``. A plan without it (a stock ``nnUNetPlans.json``)
gets the defaults. An unknown key is an error that lists the known ones, since a misspelt weight
would otherwise be a silent default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from femur_nnunet.errors import UsageError

PLAN_BLOCK_KEY = "femur_nnunet"
PLAN_BLOCK_SCHEMA = 1
Architecture = Literal["transunet", "vnet", "unet"]
Normalisation = Literal["instance", "batch"]
LambdaSchedule = Literal["ganin", "delayed_ramp", "constant"]


@dataclass(frozen=True)
class ArchitectureSettings:
    """Which network a plan was sized for, and the sizes of its transformer.

    Attributes
    ----------
    family : str
        ``transunet``, ``vnet`` or ``unet``; a trainer refuses a plan made for another family than its own.
    normalisation : str
        Of the feature maps: ``instance``, as nnU-Net plans it, or ``batch``, whose statistics are kept in the
        network (for ``TransUNetAdaBNTrainer``, and to compare); not with ``activation_checkpointing``.
    transformer_layers, transformer_heads : int
        Depth and heads of the transformer on the bottleneck map (patch size 1). TransUNet in 3D uses
        12 and 12.
    transformer_width : int
        Width of the tokens; 0 takes the features of the bottleneck. TransUNet in 3D uses 768.
    transformer_mlp_ratio : float
        Width of the hidden layer of the MLPs over that of the tokens.
    stochastic_depth : float
        Probability of dropping the last layer's residual branches; it grows linearly from 0.
    activation_checkpointing : bool
        Whether training keeps the outputs of stages and layers alone and computes what lies between
        anew on the way back: less memory for one more forward pass, the same outputs and gradients.
    """

    family: Architecture = "transunet"
    normalisation: Normalisation = "instance"
    transformer_layers: int = 12
    transformer_heads: int = 12
    transformer_width: int = 768
    transformer_mlp_ratio: float = 4.0
    stochastic_depth: float = 0.1
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class AdaptationSettings:
    """Weights and schedules of the two adaptation terms, and where in the network they take hold.

    Attributes
    ----------
    layers : tuple of str
        Layers whose tokens the terms see: ``bottleneck``, ``encoder_K`` (stage K, 0 the finest) and
        ``decoder_K`` (0 the finest; unlabelled patches then go through the decoder too). A term is the
        mean over the layers.
    domain_weight, mmd_weight : float
        Weights of the site classifier's loss and of MMD in the total loss; 0 leaves a term out.
    reversal_schedule : str
        Schedule of lambda, the factor of the reversed gradient: ``ganin`` is
        2 / (1 + exp(-10 p)) - 1 over training progress p (Ganin and Lempitsky 2015); ``delayed_ramp``
        is linear from 0 at ``ramp_start`` to ``reversal_strength`` at ``ramp_end``.
    reversal_strength : float
        Largest lambda. The schedule acts in the reversal layer alone: a second factor in the loss
        weight would give lambda squared at the encoder.
    ramp_start, ramp_end : float
        Progress (0..1) at which the delayed ramp starts and ends; MMD's weight follows it too.
    head_hidden : int
        Width of the site classifier's hidden layer.
    mmd_bandwidths : tuple of float
        Multiples of the mean squared distance that give the widths of the Gaussian kernels.
    mmd_tokens : int
        Tokens sampled from each site's share of the batch for the token term of MMD; 0 leaves the
        pooled term alone.
    mmd_queue_patches, mmd_queue_tokens : int
        Rows of past steps that each site's queue keeps for the pooled and for the token term; 0 keeps
        none. With one patch of a site in a step both terms have nothing to compare within the site but
        the queue, since tokens of one patch are not compared with each other.
    log_gradients_every : int
        Steps between two measurements of each term's gradient at the encoder, counted in each epoch from
        its first step. A measured step goes back through the network once more for each term.
    statistics_patches : int
        Patches of unlabelled scans that ``TransUNetAdaBNTrainer`` takes its batch statistics from.
    """

    layers: tuple[str, ...] = ("bottleneck",)
    domain_weight: float = 0.1
    mmd_weight: float = 0.1
    reversal_schedule: LambdaSchedule = "delayed_ramp"
    reversal_strength: float = 1.0
    ramp_start: float = 0.1
    ramp_end: float = 0.5
    head_hidden: int = 256
    mmd_bandwidths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    mmd_tokens: int = 128
    mmd_queue_patches: int = 32
    mmd_queue_tokens: int = 512
    log_gradients_every: int = 50
    statistics_patches: int = 128


@dataclass(frozen=True)
class TeacherSettings:
    """The mean teacher (Tarvainen and Valpola 2017) of the trainers with a consistency term.

    Attributes
    ----------
    consistency_weight : float
        Largest weight of the mean squared difference of probabilities on unlabelled patches; 2.0 in the
        benchmark M3DA.
    decay : float
        Decay of the teacher's moving average of weights, a step.
    ramp_end : float
        Progress (0..1) at which the weight has risen to its largest value, as exp(-5 (1 - p / ramp_end)^2)
        (Laine and Aila 2017).
    """

    consistency_weight: float = 2.0
    decay: float = 0.99
    ramp_end: float = 0.4


@dataclass(frozen=True)
class SelectionSettings:
    """Choice of a checkpoint without target labels, by trainers that see unlabelled scans.

    Attributes
    ----------
    target_patches : int
        Fixed patches of unlabelled scans that are scored; 0 turns the choice off.
    every_epochs : int
        Epochs between two scores, besides the last one's; 0 as often as costs about 2 % of training.
    held_out_fraction : float
        Share of the participants with unlabelled scans that is kept out of training for it, of each site
        with at least five of them and only where ``becomes_final`` is true; else scans are scored that
        training sees too.
    source_weight : float
        Weight of the source's validation Dice in the combined score; the rest is the target's.
    becomes_final : bool
        Whether the chosen weights become checkpoint_final.pth; checkpoint_selected.pth is written anyway.
    """

    target_patches: int = 8
    every_epochs: int = 0
    held_out_fraction: float = 0.1
    source_weight: float = 0.5
    becomes_final: bool = False


@dataclass(frozen=True)
class SamplingSettings:
    """How patches are drawn.

    Attributes
    ----------
    foreground_fraction : float
        Probability that a patch is centred on the femur. In an unlabelled scan, whose femur is not
        known, the centre is taken where femur voxels lie in labelled scans, relative to the image:
        if labelled patches showed the femur and unlabelled ones did not, the site classifier would
        win by content alone. 0.33 is nnU-Net's value: with more, short trainings see too little of what
        lies around the femur and fire on it.
    labelled_patches : int
        Labelled patches a step, over all GPUs, whatever the plan's batch size, so that arms are compared
        at equal labelled work; a trainer that sees unlabelled scans adds as many patches of each further
        site as it takes of each labelled one. 0 fills the plan's batch: all of it labelled without
        unlabelled scans, else an equal part for each site.
    """

    foreground_fraction: float = 0.33
    labelled_patches: int = 0


@dataclass(frozen=True)
class AugmentationSettings:
    """Augmentation while training.

    Attributes
    ----------
    nnunet_intensity : bool
        nnU-Net's intensity augmentation (noise, blur, brightness, contrast, low resolution, gamma).
    rotation_degrees : float
        Largest rotation about each axis.
    mirror_axes : tuple of str
        Axes that may be mirrored, of ``z`` and ``y``. Never ``x``: left and right are put on one side
        by the converter. Default none: a femur seen upside down occurs in no scan.
    ct_acquisition : bool
        Imitate other scanners and reconstructions (femur_nnunet.augmentation.ct_acquisition). All
        ranges below are from, to; a value is drawn uniformly.
    ct_probability : float
        Probability of each of the four effects (point spread, slice thickness, HU scale and offset,
        noise) on a patch.
    ct_soft_fwhm_mm : tuple of float
        Full width at half maximum of a softer kernel's point spread in the plane, on top of the
        scan's own. Soft and sharp kernels come equally often.
    ct_sharp_gain : tuple of float
        Gain of a sharper kernel's edge enhancement: the transfer function is 1 at frequency 0 and
        1 + gain at its peak.
    ct_sharp_frequency_per_mm : float
        Frequency of that peak in cycles/mm; half the grid's largest where that is lower.
    ct_noise_hu : tuple of float
        Standard deviation of the added noise in HU.
    ct_noise_peak_per_mm : tuple of float
        Frequency in cycles/mm at which the noise power has its peak: low is blotchy, high is fine.
    ct_slice_thickness_mm : tuple of float
        Width of the box that slices are averaged over; widths up to the slice spacing change nothing.
    ct_bone_scale : tuple of float
        Factor on what lies above 50 HU, as another tube voltage changes mineral: water and soft
        tissue stay.
    ct_offset_hu : tuple of float
        Offset of all values in HU.
    """

    nnunet_intensity: bool = True
    rotation_degrees: float = 30.0
    mirror_axes: tuple[str, ...] = ()
    ct_acquisition: bool = False
    ct_probability: float = 0.5
    ct_soft_fwhm_mm: tuple[float, ...] = (0.0, 3.0)
    ct_sharp_gain: tuple[float, ...] = (0.0, 0.6)
    ct_sharp_frequency_per_mm: float = 0.3
    ct_noise_hu: tuple[float, ...] = (0.0, 30.0)
    ct_noise_peak_per_mm: tuple[float, ...] = (0.05, 0.4)
    ct_slice_thickness_mm: tuple[float, ...] = (0.0, 6.0)
    ct_bone_scale: tuple[float, ...] = (0.8, 1.2)
    ct_offset_hu: tuple[float, ...] = (-30.0, 30.0)


@dataclass(frozen=True)
class OptimiserSettings:
    """The optimiser.

    Attributes
    ----------
    name : str
        ``adamw`` or ``sgd`` (momentum 0.99, Nesterov, as in nnU-Net).
    learning_rate, weight_decay : float
        Of the segmentation network. The rate falls by nnU-Net's polynomial schedule.
    warmup_epochs : int
        Epochs over which the rate rises linearly.
    head_learning_rate_factor : float
        Rate of the site classifier over that of the network.
    gradient_clip : float
        Largest norm of the gradient, of network and site classifier apart.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    warmup_epochs: int = 5
    head_learning_rate_factor: float = 1.0
    gradient_clip: float = 12.0


@dataclass(frozen=True)
class ScheduleSettings:
    """Length of training and what is kept on the way.

    Attributes
    ----------
    epochs, iterations_per_epoch, validation_iterations : int
        As in nnU-Net.
    save_every : int
        Epochs between checkpoints that ``--c`` goes on from.
    seed : int
        Seed of weights, patches and augmentation.
    whole_scan_validation : bool
        Whether every validation scan is predicted whole after training, as nnU-Net does. With hundreds of
        synthetic scans on a CPU that would take longer than training.
    """

    epochs: int = 1000
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    save_every: int = 10
    seed: int = 1
    whole_scan_validation: bool = True


@dataclass(frozen=True)
class VNetSettings:
    """Sizes of the V-Net and its loss Dice + ``l2_weight`` * L2 (docs/vnet.md).

    Attributes
    ----------
    l2 : str
        ``weights``: squared norm of the network's parameters, and no weight decay of the optimiser;
        ``residual``: mean squared difference of probability and mask.
    l2_weight : float
        Weight w of that term. 1e-5 suits ``weights``; ``residual`` lies between 0 and 1, as Dice does.
    levels : int
        Down- and upsamplings; fewer where the patch cannot be halved as often.
    base_features, kernel_size : int
        Features of the finest stage, doubled at each level up to the plan's limit, and edge of the
        kernels in voxels, an odd number (Milletari et al. 2016: 16 and 5).
    """

    l2: Literal["weights", "residual"] = "weights"
    l2_weight: float = 1e-5
    levels: int = 3
    base_features: int = 16
    kernel_size: int = 5


@dataclass(frozen=True)
class SplitSettings:
    """What the splits may be asked for.

    Attributes
    ----------
    allow_all : bool
        Whether fold ``all`` (training on every labelled case, validation on the same) is allowed.
    """

    allow_all: bool = False


@dataclass(frozen=True)
class FemurPlanSettings:
    """All blocks of a plan that belong to this package."""

    architecture: ArchitectureSettings = field(default_factory=ArchitectureSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    vnet: VNetSettings = field(default_factory=VNetSettings)
    splits: SplitSettings = field(default_factory=SplitSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return the block as it stands in a plan, the schema number first."""
        return {"schema": PLAN_BLOCK_SCHEMA, **_without_tuples(asdict(self))}


_LAYER_NAME = re.compile(r"bottleneck|(encoder|decoder)_\d+")
_FROM_TO = ("ct_soft_fwhm_mm", "ct_sharp_gain", "ct_noise_hu", "ct_noise_peak_per_mm", "ct_slice_thickness_mm",
            "ct_bone_scale", "ct_offset_hu")
_POSITIVE, _COUNT, _SHARE = (1e-12, math.inf), (1, math.inf), (0, 1)
_RANGES = {
    "architecture.transformer_layers": _COUNT, "architecture.transformer_heads": _COUNT,
    "architecture.transformer_width": (0, math.inf), "architecture.transformer_mlp_ratio": _POSITIVE,
    "architecture.stochastic_depth": (0, 0.99), "adaptation.domain_weight": (0, math.inf),
    "adaptation.mmd_weight": (0, math.inf), "adaptation.reversal_strength": (0, math.inf),
    "adaptation.head_hidden": _COUNT, "adaptation.mmd_bandwidths": _POSITIVE, "adaptation.mmd_tokens": (0, math.inf),
    "adaptation.mmd_queue_patches": (0, math.inf), "adaptation.mmd_queue_tokens": (0, math.inf),
    "adaptation.log_gradients_every": _COUNT, "adaptation.statistics_patches": _COUNT,
    "teacher.consistency_weight": (0, math.inf), "teacher.decay": _SHARE,
    "teacher.ramp_end": (1e-12, 1), "selection.target_patches": (0, math.inf), "selection.held_out_fraction": (0, 0.9),
    "selection.every_epochs": (0, math.inf),
    "selection.source_weight": _SHARE, "sampling.labelled_patches": (0, math.inf),
    "sampling.foreground_fraction": _SHARE, "augmentation.rotation_degrees": (0, 180),
    "augmentation.ct_probability": _SHARE, "augmentation.ct_soft_fwhm_mm": (0, 20),
    "augmentation.ct_sharp_gain": (0, 5), "augmentation.ct_sharp_frequency_per_mm": _POSITIVE,
    "augmentation.ct_noise_hu": (0, 500), "augmentation.ct_noise_peak_per_mm": _POSITIVE,
    "augmentation.ct_slice_thickness_mm": (0, 50), "augmentation.ct_bone_scale": (0.1, 5),
    "augmentation.ct_offset_hu": (-500, 500),
    "optimiser.learning_rate": _POSITIVE, "optimiser.weight_decay": (0, math.inf),
    "optimiser.warmup_epochs": (0, math.inf), "optimiser.head_learning_rate_factor": _POSITIVE,
    "optimiser.gradient_clip": _POSITIVE, "schedule.epochs": _COUNT, "schedule.iterations_per_epoch": _COUNT,
    "vnet.l2_weight": (0, math.inf), "vnet.levels": _COUNT, "vnet.base_features": _COUNT, "vnet.kernel_size": (1, 9),
    "schedule.validation_iterations": _COUNT, "schedule.save_every": _COUNT, "schedule.seed": (0, math.inf),
}

Block = TypeVar("Block")


def settings_from_configuration(configuration: Mapping[str, Any]) -> FemurPlanSettings:
    """Read the settings out of a plan's configuration; defaults where it has no such block.

    Parameters
    ----------
    configuration : mapping
        The dictionary below ``configurations.3d_fullres`` of a plan.

    Raises
    ------
    UsageError
        Another schema, an unknown block or key, or a value of the wrong kind.
    """
    if PLAN_BLOCK_KEY not in configuration:
        return FemurPlanSettings()
    content = configuration[PLAN_BLOCK_KEY]
    if not isinstance(content, Mapping) or not all(isinstance(block, Mapping) for name, block in content.items()
                                                   if name != "schema"):
        raise UsageError("another form", expected="one object a block", action="make the plan anew with femur_plan",
                         subject=f"the plan's {PLAN_BLOCK_KEY} block")
    content = dict(content)
    schema = content.pop("schema", None)
    if schema != PLAN_BLOCK_SCHEMA:
        raise UsageError(f"schema {schema!r} in the plan's {PLAN_BLOCK_KEY} block",
                         expected=f"schema {PLAN_BLOCK_SCHEMA}",
                         action="make the plan anew with this version's femur_plan")
    blocks = {item.name: item.default_factory for item in fields(FemurPlanSettings)}
    _refuse_unknown(content, blocks, where=f"the plan's {PLAN_BLOCK_KEY} block")
    parsed: dict[str, Any] = {name: _parse(type(blocks[name]()), value, where=f"the plan's block {name}")  # type: ignore[misc, operator]
                              for name, value in content.items()}
    settings = FemurPlanSettings(**parsed)
    _check_values(settings)
    return settings


def _parse(block_type: type[Block], values: Mapping[str, Any], *, where: str) -> Block:
    known = {item.name: item for item in fields(block_type)}  # type: ignore[arg-type]
    _refuse_unknown(values, known, where=where)
    arguments: dict[str, Any] = {}
    defaults = block_type()
    for name, value in values.items():
        default = getattr(defaults, name)
        if isinstance(default, tuple):
            value = tuple(value) if isinstance(value, (list, tuple)) else value
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise UsageError(f"{value!r} for {name}", expected=f"a value of type {type(default).__name__}",
                             action="correct the plan", subject=where)
        arguments[name] = value
    return block_type(**arguments)


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], *, where: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(f"unknown {', '.join(unknown)}", expected=f"only {', '.join(known)}",
                         action="correct the plan, or make it anew with femur_plan", subject=where)


def _check_values(settings: FemurPlanSettings) -> None:
    for name, value, allowed in (
            ("architecture.family", settings.architecture.family, get_args(Architecture)),
            ("architecture.normalisation", settings.architecture.normalisation, get_args(Normalisation)),
            ("adaptation.reversal_schedule", settings.adaptation.reversal_schedule, get_args(LambdaSchedule)),
            ("optimiser.name", settings.optimiser.name, ("adamw", "sgd")),
            ("vnet.l2", settings.vnet.l2, ("weights", "residual"))):
        if value not in allowed:
            raise UsageError(f"{value!r} for {name}", expected=f"one of {', '.join(allowed)}",
                             action="correct the plan")
    if settings.architecture.activation_checkpointing and settings.architecture.normalisation == "batch":
        raise UsageError("activation_checkpointing with normalisation batch", expected="one of the two: what is "
                         "computed anew would count every batch twice in the kept statistics",
                         action="set one of them to its default in the plan's block architecture")
    forbidden = sorted(set(settings.augmentation.mirror_axes) - {"z", "y"})
    if forbidden:
        raise UsageError(f"mirroring along {', '.join(forbidden)}", expected="z and y alone",
                         action="leave the left-right axis out: every case already looks like a left hip")
    _check_numbers(settings)
    for key in _FROM_TO:
        values = getattr(settings.augmentation, key)
        if len(values) != 2 or values[0] > values[1]:
            raise UsageError(f"{list(values)} for augmentation.{key}", expected="two numbers, from and to",
                             action="correct the plan")
    if not settings.adaptation.mmd_bandwidths:
        raise UsageError("no adaptation.mmd_bandwidths", expected="at least one kernel", action="correct the plan")
    layers = settings.adaptation.layers
    if not layers or len(set(layers)) < len(layers) or not all(_LAYER_NAME.fullmatch(str(name)) for name in layers):
        raise UsageError(f"adaptation.layers {list(layers)}",
                         expected="at least one of bottleneck, encoder_K, decoder_K (K a number), each once",
                         action="correct the plan")
    ramp = settings.adaptation
    if not 0.0 <= ramp.ramp_start < ramp.ramp_end <= 1.0:
        raise UsageError(f"a ramp from {ramp.ramp_start} to {ramp.ramp_end}",
                         expected="0 <= ramp_start < ramp_end <= 1", action="correct the plan")


def _check_numbers(settings: FemurPlanSettings) -> None:
    for name, (low, high) in _RANGES.items():
        block, key = name.split(".")
        value = getattr(getattr(settings, block), key)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, (int, float)) or not low <= number <= high:
                raise UsageError(f"{number!r} for {name}", expected=f"a number from {low:g} to {high:g}",
                                 action="correct the plan")


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, (list, tuple)) else value
