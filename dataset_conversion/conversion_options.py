"""What a conversion is asked to do, and the checks on it that need no scan."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from femur_nnunet.calibration.scan_calibration import CalibrationMode
from femur_nnunet.errors import UsageError

MaskMeaning = Literal["background", "femur", "left", "right"]
MASK_MEANINGS: tuple[MaskMeaning, ...] = ("background", "femur", "left", "right")
MaskLabels = tuple[tuple[int, MaskMeaning], ...]
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_DATASET_PATTERN = re.compile(r"Dataset([0-9]{3})_.+")


@dataclass(frozen=True)
class ConversionOptions:
    """What :func:`femur_nnunet.dataset_conversion.convert.convert` is asked to do.

    Attributes
    ----------
    out : Path
        The folder nnUNet_raw; the dataset becomes ``out/Dataset501_ProximalFemur``.
    dataset_id, dataset_name : int, str
        Number (1 to 999) and name of the dataset.
    tulane, rochester, manifest : Path, optional
        The sources; at least one.
    unlabelled_sites : tuple of str
        Sites whose masks are treated as absent in training; they go to labelsTs of test scans only.
    mask_labels : tuple, optional
        Meaning of the masks' values, from :func:`parse_mask_labels`.
    keep_unlabelled_hip : bool
        Keep the hip that lacks in a mask of the other one, as an unlabelled case.
    keep_bilateral : bool
        Write whole scans, left femur 1 and right femur 2, in place of one case a hip.
    strict : bool
        Stop at the first failure.
    prune : bool
        Remove cases of earlier runs whose rows the tables no longer have.
    test_fraction : float
        Share of participants drawn into the locked test set, of those whose role is empty.
    calibrate : {"auto", "table", "rods", "tissue"}
        Where slope and intercept of density come from, see
        :func:`~femur_nnunet.calibration.scan_calibration.calibrate_scan`.
    phantom_table : Path, optional
        The user's own calibration phantoms.
    key_file : Path, optional
        Secret key of the ids; by default a file beside the dataset's folder.
    key_seed : int, optional
        Take the key from this number in place of a file. For synthetic cohorts alone: everybody can
        then find out whose id is whose.
    jobs : int
        Worker processes; 0 means one for each processor.
    seed : int
        Seed of test set and folds.
    quiet : bool
        No progress bar.
    identifiable : bool
        Let messages and report quote file names and cells.
    resample_irregular, correct_tilt : bool
        Mend uneven slice spacing and gantry tilt in place of refusing them.
    own_ids : Path, optional
        The user's own table of ids (``site, participant_id, id``) in place of keyed hashes.
    isolated : bool
        Convert in worker processes even with ``jobs=1``, so that a decoder that crashes or hangs costs its row alone.
    row_limit_s : float
        Seconds after which a row is given up, where it runs in a worker process.
    """

    out: Path
    dataset_id: int = 501
    dataset_name: str = "ProximalFemur"
    tulane: Path | None = None
    rochester: Path | None = None
    manifest: Path | None = None
    unlabelled_sites: tuple[str, ...] = ()
    mask_labels: MaskLabels | None = None
    keep_unlabelled_hip: bool = False
    keep_bilateral: bool = False
    strict: bool = False
    prune: bool = False
    test_fraction: float = 0.1
    calibrate: CalibrationMode = "auto"
    phantom_table: Path | None = None
    key_file: Path | None = None
    key_seed: int | None = None
    jobs: int = 0
    seed: int = 0
    quiet: bool = False
    identifiable: bool = False
    resample_irregular: bool = False
    correct_tilt: bool = False
    own_ids: Path | None = None
    isolated: bool = False
    row_limit_s: float = 1800.0

    @property
    def dataset_folder(self) -> Path:
        """The dataset's folder."""
        return self.out / f"Dataset{self.dataset_id:03d}_{self.dataset_name}"

    @property
    def staging_folder(self) -> Path:
        """Where cases wait until the dataset is brought up to date; on the same disk as the dataset.

        Its name does not begin with ``Dataset``, since nnU-Net takes every such folder for a dataset.
        """
        return self.out / f".femur_staging_{self.dataset_id:03d}"

    @property
    def key_path(self) -> Path:
        """The file of the secret key."""
        return self.key_file if self.key_file is not None else self.out / f"femur_id_key_{self.dataset_id:03d}.txt"

    @property
    def id_map_path(self) -> Path:
        """The table that leads from ids back to participants and paths."""
        return self.key_path.with_name(f"femur_id_map_{self.dataset_id:03d}.tsv")

    def check(self) -> None:
        """Refuse options that cannot be carried out.

        Raises
        ------
        UsageError
            Nothing to convert, a value out of range, a key inside the dataset, or another dataset
            with the same number in ``out``.
        """
        if self.tulane is None and self.rochester is None and self.manifest is None:
            raise UsageError("no source", expected="--tulane, --rochester or --manifest",
                             action="name at least one of them")
        if not 1 <= self.dataset_id <= 999:
            raise UsageError(f"dataset id {self.dataset_id}", expected="a number from 1 to 999",
                             action="correct --dataset-id")
        if _NAME_PATTERN.fullmatch(self.dataset_name) is None:
            raise UsageError(f"dataset name {self.dataset_name!r}", expected="letters, digits, _ and - alone",
                             action="correct --dataset-name")
        if not (math.isfinite(self.test_fraction) and 0 <= self.test_fraction < 1):
            raise UsageError(f"a test fraction of {self.test_fraction}", expected="0 or more and below 1",
                             action="correct --test-fraction")
        if self.key_file is not None and self.key_seed is not None:
            raise UsageError("--key-file and --key-seed", expected="one of them", action="leave one out")
        if not (math.isfinite(self.row_limit_s) and self.row_limit_s > 0):
            raise UsageError(f"a time limit of {self.row_limit_s / 60:g} minutes", expected="more than 0",
                             action="correct --row-minutes")
        dataset = self.dataset_folder.resolve()
        if dataset in self.key_path.resolve().parents:
            raise UsageError("a key file inside the dataset's folder",
                             expected="a place that is not handed on together with the dataset",
                             action="give another --key-file")
        others = sorted(entry.name for entry in self.out.glob(f"Dataset{self.dataset_id:03d}_*")
                        if _DATASET_PATTERN.fullmatch(entry.name) and entry.name != self.dataset_folder.name)
        if others:
            raise UsageError(f"{others[0]} in the target folder", expected="one dataset with a number",
                             action="give another --dataset-id, or the --dataset-name of the one that is there")


def parse_mask_labels(text: str) -> MaskLabels:
    """Read the meaning of mask values, such as ``left=2,right=1,background=3``.

    The meanings are ``left``, ``right``, ``femur`` (the side follows from the row, or from the
    position in the scan) and ``background``; a meaning may come more than once, a value may not.
    The value 0 is background.

    Raises
    ------
    UsageError
        The text has another form.
    """
    labels: dict[int, MaskMeaning] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        meaning = next((known for known in MASK_MEANINGS if known == name), None)
        if meaning is None or re.fullmatch(r"[0-9]{1,3}", value) is None or not 1 <= int(value) <= 255 \
                or int(value) in labels:
            raise UsageError(f"{part.strip()!r} in --mask-labels",
                             expected=f"MEANING=VALUE with one of {', '.join(MASK_MEANINGS)} and each value from "
                             "1 to 255 once, as in left=1,right=2", action="correct --mask-labels")
        labels[int(value)] = meaning
    if not any(meaning != "background" for meaning in labels.values()):
        raise UsageError("no femur in --mask-labels", expected="left, right or femur among the meanings",
                         action="correct --mask-labels")
    return tuple(sorted(labels.items()))
