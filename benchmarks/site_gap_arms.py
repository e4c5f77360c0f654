"""The arms of the site gap benchmark and what one run of it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TIERS = ("none", "mild", "moderate", "severe")
MASKS = ("raw", "largest_component")
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
    labelled_patches: int = 2
    preset: str = "cpu"


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
    def root(self) -> Path:
        """Folder of everything of this seed; also nnU-Net's three folders lie there."""
        return self.work / f"seed{self.seed}"

    @property
    def trained_tier(self) -> str:
        """Tier of the cohort that the arm is trained on."""
        return self.tier if ARMS[self.arm].uses_rochester else SOURCE_ALONE_TIER

    @property
    def network_folder(self) -> Path:
        """Folder of the trained arm's steps."""
        return self.root / "arms" / f"{self.arm}_{self.trained_tier}"

    @property
    def results_folder(self) -> Path:
        """Folder of the arm's masks and tables on its tier."""
        return self.root / "results" / f"{self.arm}_{self.tier}"
