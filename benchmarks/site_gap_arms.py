"""The arms of the site gap benchmark and what one run of it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from femur_nnunet.files import canonical_json, sha256_of_text

TIERS = ("none", "mild", "moderate", "severe")
MASKS = ("raw", "largest_component")
ANATOMIES = ("analytic", "label_maps")
# A network that never sees Rochester is the same whatever Rochester's tier: it is trained once, here.
SOURCE_ALONE_TIER = "moderate"


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes
    ----------
    trainer : str
        Trainer of this package.
    changes : tuple of str
        Settings of the plan that differ from the preset.
    uses_rochester : bool
        Whether scans of Rochester take part in training.
    oracle : bool
        Whether they take part with their labels.
    matches_histograms : bool
        Whether Tulane's training images have their histograms matched to Rochester's before training.
    keeps_statistics : bool
        Whether each site is predicted with statistics of its own (AdaBN).
    renderings : str
        Renderings of label maps as labelled training scans: "none", "added" to Tulane's, or "only".
    """

    trainer: str
    changes: tuple[str, ...] = ()
    uses_rochester: bool = True
    oracle: bool = False
    matches_histograms: bool = False
    keeps_statistics: bool = False
    renderings: Literal["none", "added", "only"] = "none"


_BATCH = "architecture.normalisation=batch"
_PLAIN = ("augmentation.nnunet_intensity=false",)
ARMS: dict[str, Arm] = {
    "source_only": Arm("TransUNetTrainer", _PLAIN, uses_rochester=False),
    "nnunet_aug": Arm("TransUNetTrainer", uses_rochester=False),
    "ct_aug": Arm("TransUNetTrainer", ("augmentation.ct_acquisition=true",), uses_rochester=False),
    "histogram_matching": Arm("TransUNetTrainer", _PLAIN, matches_histograms=True),
    "batch_norm": Arm("TransUNetTrainer", (*_PLAIN, _BATCH), uses_rochester=False),
    "adabn": Arm("TransUNetAdaBNTrainer", (*_PLAIN, _BATCH), keeps_statistics=True),
    "renderings_only": Arm("TransUNetTrainer", _PLAIN, uses_rochester=False, renderings="only"),
    "renderings_added": Arm("TransUNetTrainer", _PLAIN, uses_rochester=False, renderings="added"),
    "grl": Arm("TransUNetGRLTrainer", _PLAIN),
    "grl_aug": Arm("TransUNetGRLTrainer"),
    "mmd": Arm("TransUNetMMDTrainer", _PLAIN),
    "mmd_aug": Arm("TransUNetMMDTrainer"),
    "grl_mmd": Arm("TransUNetDATrainer", _PLAIN),
    "grl_mmd_aug": Arm("TransUNetDATrainer"),
    "mean_teacher": Arm("TransUNetMeanTeacherTrainer"),
    "plus": Arm("TransUNetDAPlusTrainer", ("augmentation.ct_acquisition=true",)),
    "oracle": Arm("TransUNetTrainer", oracle=True),
}


@dataclass(frozen=True)
class Size:
    """Participants of the cohort, renderings of its arms, and steps of the training; the same for every arm."""

    train_tulane: int = 24
    test_tulane: int = 12
    train_rochester: int = 16
    test_rochester: int = 20
    renderings: int = 220
    epochs: int = 15
    iterations_per_epoch: int = 20
    labelled_patches: int = 2
    preset: str = "cpu"

    @property
    def steps(self) -> int:
        """Steps of a training."""
        return self.epochs * self.iterations_per_epoch


CPU = Size()
# Meant for eight minutes a run on one GPU; not measured yet. The cohort's hips hold no patch larger than 96^3.
GPU = Size(iterations_per_epoch=150, preset="gpu24")


@dataclass(frozen=True)
class Run:
    """One arm on one cohort."""

    arm: str
    tier: str
    seed: int
    size: Size
    work: Path
    device: str = "cpu"
    jobs: int = 2
    label_maps: Path | None = None
    rendered_maps: Path | None = None

    @property
    def anatomy(self) -> str:
        """What the cohort's bones are made from."""
        return ANATOMIES[self.label_maps is not None]

    @property
    def changes(self) -> tuple[str, ...]:
        """Settings of the plan that differ from the preset."""
        return (f"sampling.labelled_patches={self.size.labelled_patches}",
                f"schedule.iterations_per_epoch={self.size.iterations_per_epoch}",
                # The last checkpoint is taken: no scan need be kept out of training to choose another.
                "selection.target_patches=0", *ARMS[self.arm].changes)

    @property
    def settings_sha256(self) -> str:
        """Hash of all that decides the training besides the cohort: other settings are another network."""
        renderings = self.size.renderings if ARMS[self.arm].renderings != "none" else 0
        return sha256_of_text(canonical_json([ARMS[self.arm].trainer, *self.changes, self.size.preset,
                                              self.size.epochs, renderings]))[:8]

    @property
    def root(self) -> Path:
        """Folder of everything of this seed and anatomy; also nnU-Net's three folders lie there."""
        return self.work / f"seed{self.seed}{'_label_maps' if self.label_maps else ''}"

    @property
    def trained_tier(self) -> str:
        """Tier of the cohort that the arm is trained on."""
        return self.tier if ARMS[self.arm].uses_rochester else SOURCE_ALONE_TIER

    @property
    def network_folder(self) -> Path:
        """Folder of the trained arm's steps."""
        return self.root / "arms" / f"{self.arm}_{self.settings_sha256}_{self.trained_tier}"

    @property
    def results_folder(self) -> Path:
        """Folder of the arm's masks and tables on its tier."""
        return self.root / "results" / f"{self.arm}_{self.settings_sha256}_{self.tier}"

    @property
    def plans_name(self) -> str:
        """Name of the arm's plan."""
        preset = "" if self.size.preset == "gpu24" else f"_{self.size.preset}"
        return f"FemurPlans{preset}_{self.plan_suffix}"

    @property
    def plan_suffix(self) -> str:
        """What femur_plan adds to a plan's name for this arm and its settings."""
        return f"{self.arm.replace('_', '')}{self.settings_sha256}"
