"""What an evaluation is asked to do: folders, cases, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from femur_nnunet.evaluation.bootstrap import DEFAULT_RESAMPLES
from femur_nnunet.evaluation.fe_export.options import FeExportOptions
from femur_nnunet.evaluation.texture.options import TextureOptions

RoleChoice = Literal["test", "train", "all"]
DEFAULT_ARM = "model"


@dataclass(frozen=True)
class StatisticsOptions:
    """How tables are made from rows.

    Attributes
    ----------
    resamples : int
        Bootstrap resamples.
    seed : int
        Seed of every resampling.
    source_sites : tuple of str
        Sites whose labels were trained on; empty: the sites of labelled training rows in scans.tsv.
    tost_margin_ml : float, optional
        Margin of the equivalence test of volumes.
    lsc_percent : mapping
        Least significant changes that replace those of :mod:`~femur_nnunet.evaluation.density.significant_change`.
    """

    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0
    source_sites: tuple[str, ...] = ()
    tost_margin_ml: float | None = None
    lsc_percent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate.

    Attributes
    ----------
    predictions, references : Path
        Folders of label maps named ``<case_id>.nii.gz`` (also .nii, .mha, .mhd, .nrrd; DICOM-SEG as
        ``<case_id>.dcm`` or a folder ``<case_id>``).
    scans : Path
        The cohort table.
    out : Path
        Folder of the result.
    arm : str
        Name of the model or method, written into every table.
    fold : str, optional
        Fold of the model, written into cases.csv.
    role : str
        Which rows of scans.tsv are evaluated. A scan seen in training is never evaluated: ``train`` is
        for the validation predictions of cross-validation alone.
    statistics : StatisticsOptions
        How tables are made.
    tier_hash : str, optional
        Hash of the synthetic tier file that the cases were made with.
    jobs : int
        Worker processes; 0 means one for each processor.
    quiet : bool
        No progress bar.
    images : Path, optional
        Folder of the scans themselves, for the tables of :mod:`~femur_nnunet.evaluation.extra_tables`.
    fe_export : FeExportOptions, optional
        Where and how the predictions are written for finite elements; needs ``images``.
    texture : TextureOptions, optional
        How texture is measured in those scans; None: not at all.
    """

    predictions: Path
    references: Path
    scans: Path
    out: Path
    arm: str = DEFAULT_ARM
    fold: str | None = None
    role: RoleChoice = "test"
    statistics: StatisticsOptions = field(default_factory=StatisticsOptions)
    tier_hash: str | None = None
    jobs: int = 1
    quiet: bool = False
    images: Path | None = None
    fe_export: FeExportOptions | None = None
    texture: TextureOptions | None = None
