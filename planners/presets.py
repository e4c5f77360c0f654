"""Presets of the planner: what a machine's memory and speed allow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from femur_nnunet.plan_settings import (
    ArchitectureSettings,
    AugmentationSettings,
    FemurPlanSettings,
    OptimiserSettings,
    ScheduleSettings,
    VNetSettings,
)

DEFAULT_PRESET = "gpu24"


@dataclass(frozen=True)
class Preset:
    """Sizes for one kind of machine.

    Attributes
    ----------
    gpu_memory_gb : float
        Memory that patch and batch are sized for.
    spacing_mm_zyx : tuple of float or None
        Fixed spacing; None takes the median of the labelled training scans.
    largest_patch : int or None
        Longest edge of the patch in voxels; None leaves it to the memory.
    batch_size : int or None
        None leaves it to the memory.
    base_features, max_features : int
        Features of the first stage (doubled a stage) and their limit.
    settings : FemurPlanSettings
        The plan's own block.
    """

    gpu_memory_gb: float
    spacing_mm_zyx: tuple[float, float, float] | None
    largest_patch: int | None
    batch_size: int | None
    base_features: int
    max_features: int
    settings: FemurPlanSettings


_FULL = FemurPlanSettings()
# Two cores and no GPU: about 1 s a step of four patches of 48^3. Few epochs, since every epoch pays
# for its validation; a learning rate for a few hundred steps.
_CPU = FemurPlanSettings(
    architecture=ArchitectureSettings(transformer_layers=2, transformer_heads=4, transformer_width=0,
                                      transformer_mlp_ratio=2.0, stochastic_depth=0.0),
    augmentation=AugmentationSettings(rotation_degrees=15.0),
    optimiser=OptimiserSettings(learning_rate=2e-3, weight_decay=1e-2, warmup_epochs=0),
    vnet=VNetSettings(base_features=8, kernel_size=3),
    schedule=ScheduleSettings(epochs=18, iterations_per_epoch=20, validation_iterations=2, save_every=2),
)

PRESETS: dict[str, Preset] = {
    "cpu": Preset(8.0, (3.0, 3.0, 3.0), 48, 4, 16, 128, _CPU),
    "gpu24": Preset(20.0, None, None, None, 32, 320, _FULL),
    "gpu80": Preset(70.0, None, None, None, 32, 320, _FULL),
}


def settings_for(preset: str, architecture: str, *, epochs: int | None, seed: int | None) -> FemurPlanSettings:
    """Return a preset's settings for an architecture, with the user's epochs and seed where given."""
    settings = PRESETS[preset].settings
    schedule = replace(settings.schedule,
                       epochs=settings.schedule.epochs if epochs is None else epochs,
                       seed=settings.schedule.seed if seed is None else seed)
    family = replace(settings.architecture, family=architecture)  # type: ignore[arg-type]
    # V-Net's penalty on its weights stands in the loss.
    optimiser = replace(settings.optimiser, weight_decay=0.0) if architecture == "vnet" else settings.optimiser
    return replace(settings, architecture=family, schedule=schedule, optimiser=optimiser)
