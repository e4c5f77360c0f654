"""What femur_plan is asked for; free of torch, so that ``--help`` answers at once."""

from __future__ import annotations

from dataclasses import dataclass

from femur_nnunet.planners.presets import DEFAULT_PRESET, PRESETS

CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class PlanOptions:
    """What femur_plan is asked for; see the command's help."""

    dataset_id: int
    architecture: str = "transunet"
    preset: str = DEFAULT_PRESET
    spacing_mm_zyx: tuple[float, ...] | None = None
    epochs: int | None = None
    seed: int | None = None
    changes: tuple[str, ...] = ()
    name: str = ""
    jobs: int = 1
    preprocess: bool = True
    quiet: bool = False

    @property
    def plans_name(self) -> str:
        """Name of the plan: FemurPlans, with architecture, preset and own name where they are not the default."""
        stem = {"transunet": "FemurPlans", "vnet": "FemurVNetPlans", "unet": "FemurUNetPlans"}[self.architecture]
        parts = [stem, "" if self.preset == DEFAULT_PRESET else self.preset, self.name]
        return "_".join(part for part in parts if part)

    @property
    def data_identifier(self) -> str:
        """Folder of preprocessed data: one a spacing, shared by all plans of that spacing."""
        spacing = self.spacing_mm_zyx or PRESETS[self.preset].spacing_mm_zyx
        if spacing is None:
            return f"FemurPlans_{CONFIGURATION}"
        return "FemurPlans_" + "x".join(f"{value:g}" for value in spacing) + f"mm_{CONFIGURATION}"
