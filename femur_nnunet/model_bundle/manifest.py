"""manifest.json of a bundle: what the model is, what it was trained on in numbers, and what holds for its use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from femur_nnunet.files import canonical_json, sha256_of_text
from femur_nnunet.model_bundle.plan_schema import Family

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA = 1
CONTENT_HASH_KEY = "content_sha256"
INTENDED_USE = "Research use only. Not a medical device: no result of it may guide the care of a patient."
FemurSide = Literal["proximal", "left", "right"]
LocaliserKind = Literal["none", "geometric", "network"]


@dataclass(frozen=True)
class NetworkEntry:
    """Where a network of the bundle comes from and how its weights are stored.

    Attributes
    ----------
    family : str
        ``transunet``, ``vnet`` or ``unet``.
    trainer, plans_name, configuration, checkpoint : str
        Of the training, for export-nnunet; ``checkpoint`` is a file name.
    folds : tuple of str
        Folds of the ensemble: numbers, or ``all``.
    mirror_axes : tuple of int
        Axes in the network's order that test-time augmentation may mirror.
    aliases : dict of str to str
        Further names of tensors that are stored once.
    """

    family: Family
    trainer: str
    plans_name: str
    configuration: str
    checkpoint: str
    folds: tuple[str, ...]
    mirror_axes: tuple[int, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelEntry:
    """One class of the network: its value, name, and which femur it is; None for another structure."""

    value: int
    name: str
    femur: FemurSide | None = None


@dataclass(frozen=True)
class Distribution:
    """Spread of a quantity over ``n`` cases."""

    n: int
    minimum: float
    percentile_5: float
    median: float
    percentile_95: float
    maximum: float


@dataclass(frozen=True)
class TrainingFacts:
    """The training fingerprint: numbers alone, no case, participant or path. None where it is not known.

    Attributes
    ----------
    n_cases, n_participants : int, optional
        Labelled training cases (a hip each) and their participants.
    n_unlabelled_cases : int, optional
        Training cases without a mask, which the trainers with adaptation terms saw.
    cases_by_site : tuple of int
        Labelled training cases of each site, largest first; of one without a name.
    site_names : tuple of str
        Their names in the same order, where the packer chose to give them.
    spacing_mm, extent_mm : tuple of Distribution
        Voxel spacing and size of the training images along the file's axes (z, y, x).
    shape_voxels : tuple of Distribution
        Their shape, in the same order.
    foreground_hu : dict of str to float
        HU within the femur: min, percentile_00_5, median, mean, std, percentile_99_5, max.
    femur_volume_ml : Distribution, optional
        Volume of a femur within the field of view.
    """

    n_cases: int | None = None
    n_participants: int | None = None
    n_unlabelled_cases: int | None = None
    cases_by_site: tuple[int, ...] = ()
    site_names: tuple[str, ...] = ()
    spacing_mm: tuple[Distribution, ...] = ()
    extent_mm: tuple[Distribution, ...] = ()
    shape_voxels: tuple[Distribution, ...] = ()
    foreground_hu: dict[str, float] = field(default_factory=dict)
    femur_volume_ml: Distribution | None = None


@dataclass(frozen=True)
class Evidence:
    """What a step did to the validation predictions: Dice a participant without and with it, and their difference.

    ``ci95_low`` and ``ci95_high`` are of the mean difference (bootstrap over participants), None for fewer than two.
    """

    n_cases: int
    n_participants: int
    dice_without: float
    dice_with: float
    difference: float
    ci95_low: float | None
    ci95_high: float | None
    n_better: int
    n_worse: int


@dataclass(frozen=True)
class PostprocessingStep:
    """Whether a step is used, and the validation that says so; without evidence it is a default."""

    use: bool
    evidence: Evidence | None = None

    @property
    def validated(self) -> bool:
        """Whether the choice rests on validation predictions."""
        return self.evidence is not None


@dataclass(frozen=True)
class Postprocessing:
    """Steps on each femur's mask, in this order.

    Attributes
    ----------
    largest_component : PostprocessingStep
        Keep the largest connected component (26 neighbours). Without evidence it is used: a case holds one femur.
    fill_holes : PostprocessingStep
        Fill cavities that the outside does not reach (6 neighbours). Without evidence it is not used.
    """

    largest_component: PostprocessingStep = PostprocessingStep(True)
    fill_holes: PostprocessingStep = PostprocessingStep(False)


@dataclass(frozen=True)
class Thresholds:
    """From where on a result is warned about.

    Attributes
    ----------
    femur_volume_ml_low, femur_volume_ml_high : float
        Plausible volume of a proximal femur in the field of view.
    fold_agreement_dice : float
        Lowest mean Dice between the folds' masks.
    spacing_ratio : float
        How far a spacing may lie outside the training range, as a factor.
    foreground_hu_shift : float
        How far the median HU within the mask may lie from that in training.
    """

    femur_volume_ml_low: float = 30.0
    femur_volume_ml_high: float = 600.0
    fold_agreement_dice: float = 0.90
    spacing_ratio: float = 1.5
    foreground_hu_shift: float = 250.0


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of a file in the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All of manifest.json.

    Attributes
    ----------
    package_version : str
        Version that packed the bundle.
    name : str
        Short name of the model.
    licence, attribution : str, tuple of str
        Under which the weights may be used, and whom to name.
    intended_use : str
        One line.
    network : NetworkEntry
        The model.
    labels : tuple of LabelEntry
        Its classes, without the background.
    training, postprocessing, thresholds
        See their classes.
    localiser : str
        ``none``, ``geometric`` (found without a network) or ``network``.
    localiser_network, localiser_labels
        Of a network localiser.
    files : dict of str to FileEntry
        Every file of the bundle but the manifest.
    """

    package_version: str
    name: str
    licence: str
    network: NetworkEntry
    labels: tuple[LabelEntry, ...]
    attribution: tuple[str, ...] = ()
    intended_use: str = INTENDED_USE
    training: TrainingFacts = TrainingFacts()
    postprocessing: Postprocessing = Postprocessing()
    thresholds: Thresholds = Thresholds()
    localiser: LocaliserKind = "none"
    localiser_network: NetworkEntry | None = None
    localiser_labels: tuple[LabelEntry, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)

    @property
    def femur_labels(self) -> dict[FemurSide, int]:
        """Value of each femur: ``{"proximal": 1}`` for one hip a case, else ``left`` and ``right``."""
        return {label.femur: label.value for label in self.labels if label.femur is not None}

    @property
    def takes_single_hips(self) -> bool:
        """Whether a case is one hip that looks like a left one; else it is a whole scan."""
        return "proximal" in self.femur_labels

    def to_bytes(self) -> bytes:
        """Return manifest.json, the same bytes for the same content, with a hash over the content."""
        content = {"schema": MANIFEST_SCHEMA, **asdict(self)}
        content[CONTENT_HASH_KEY] = content_hash(content)
        return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")


def content_hash(content: dict[str, Any]) -> str:
    """Return the SHA-256 over a manifest's content; empty where it holds a number beyond what JSON can write."""
    try:
        return sha256_of_text(canonical_json(content))
    except (ValueError, RecursionError):
        return ""


def file_entries(contents: Sequence[tuple[str, bytes]]) -> dict[str, FileEntry]:
    """Return size and hash of files by name."""
    return {name: FileEntry(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents}
