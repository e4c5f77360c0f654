"""A toy dataset in nnU-Net's raw format, written without the converter: ellipsoids in noise, two sites."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from femur_nnunet.cohort import ScanRecord, write_scans_table
from femur_nnunet.splits import SplitSet, write_splits

DATASET_NAME = "Dataset501_Toy"


def case_id(site: str, participant: int, side: str = "l") -> str:
    return f"{site}_{participant:08x}_v01_{side}"


def toy_image(seed: int, *, shape_zyx: tuple[int, int, int], offset_hu: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centre = np.asarray(shape_zyx) / 2 + generator.uniform(-2, 2, 3)
    axes = np.meshgrid(*(np.arange(n) for n in shape_zyx), indexing="ij")
    radius = np.sqrt(sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, (12, 7, 7), strict=True)))
    mask = (radius <= 1).astype(np.uint8)
    image = generator.normal(-50, 20, shape_zyx) + mask.astype(float) * 400 + offset_hu
    return image.astype(np.int16), mask


def write_toy_dataset(raw_root: Path, *, labelled: int = 4, unlabelled: int = 2, test: int = 1,
                      shape_zyx: tuple[int, int, int] = (32, 28, 26), spacing_mm: float = 3.0) -> Path:
    """Write participants with both hips each at tulane (labelled) and rochester (unlabelled), and two folds."""
    folder = raw_root / DATASET_NAME
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "imagesUn"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    records = []
    plan = [("tulane", "train", True, labelled), ("tulane", "test", True, test),
            ("rochester", "train", False, unlabelled), ("rochester", "test", True, test)]
    number = 0
    for site, role, has_mask, count in plan:
        for _ in range(count):
            number += 1
            for side, side_name in (("l", "left"), ("r", "right")):
                case = case_id(site, number, side)
                image, mask = toy_image(number * 10 + (side == "r"), shape_zyx=shape_zyx,
                                        offset_hu=0.0 if site == "tulane" else -40.0)
                images = {"test": "imagesTs", "train": "imagesTr" if has_mask else "imagesUn"}[role]
                _write(folder / images / f"{case}_0000.nii.gz", image, spacing_mm)
                if has_mask:
                    _write(folder / images.replace("images", "labels") / f"{case}.nii.gz", mask, spacing_mm)
                records.append(ScanRecord(case, f"sub-{number:08x}", site, 1, side_name, side == "r", has_mask, role,
                                          sex="F" if number % 2 else "M", age_years=60.0 + number))
    write_scans_table(folder / "scans.tsv", records)
    training = sorted({r.participant_id for r in records if r.labelled and r.role == "train"})
    half = len(training) // 2
    folds = []
    for held_out in (training[:half], training[half:]):
        cases = [r for r in records if r.labelled and r.role == "train"]
        folds.append({"train": sorted(r.case_id for r in cases if r.participant_id not in held_out),
                      "val": sorted(r.case_id for r in cases if r.participant_id in held_out)})
    write_splits(folder, SplitSet(folds, [{"scheme": "kfold2", "cohort": "all", "k": k} for k in (0, 1)],
                                  sorted(r.case_id for r in records if r.role == "test")))
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "proximal_femur": 1}, "file_ending": ".nii.gz",
        "numTraining": 2 * labelled, "overwrite_image_reader_writer": "SimpleITKIO"}))
    return folder


def _write(path: Path, array: np.ndarray, spacing_mm: float) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing_mm,) * 3)
    sitk.WriteImage(image, str(path))
