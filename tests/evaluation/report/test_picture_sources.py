from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_cohort import Cohort, write_mask
from shapes import block

from femur_nnunet.cohort import read_scans_table
from femur_nnunet.evaluation.case_evaluation import CaseJob, evaluate_case
from femur_nnunet.evaluation.report.gallery import focus_voxel, worst_rows
from femur_nnunet.evaluation.report.picture_sources import (
    MaskLibrary,
    NoPictureError,
    PictureSources,
    sources_of_run,
)

LEFT, RIGHT = block((6, 10, 20), (1, 2, 2), (5, 6, 6)), block((6, 10, 20), (1, 2, 12), (5, 6, 18))
CASE = "aa_00000001_v01_l"


def evaluated(cohort, case_id):
    record = next(row for row in read_scans_table(cohort.scans) if row.case_id == case_id)
    files = [[path] if path.exists() else [] for path in (
        cohort.references / f"{case_id}.nii.gz", cohort.predictions / f"{case_id}.nii.gz")]
    return evaluate_case(CaseJob(case_id, record, *files, "model"))


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


@pytest.fixture
def library(cohort):
    def make(images=None):
        return MaskLibrary(PictureSources(cohort.references, {"model": cohort.predictions}, images))
    return make


def test_masks_are_those_that_were_evaluated(cohort, library):
    cohort.add(CASE, LEFT, np.roll(LEFT, 1, axis=2))
    row, = evaluated(cohort, CASE)
    masks = library().read(row)
    np.testing.assert_array_equal(masks.prediction, np.roll(LEFT, 1, axis=2))
    write_mask(cohort.predictions / f"{CASE}.nii.gz", RIGHT)
    with pytest.raises(NoPictureError, match="not the file that was evaluated"):
        library().read(row)
    (cohort.predictions / f"{CASE}.nii.gz").unlink()
    with pytest.raises(NoPictureError, match="not there"):
        library().read(row)


def test_a_missed_femur_shows_its_reference_alone(cohort, library):
    cohort.add(CASE, LEFT, None)
    row, = evaluated(cohort, CASE)
    masks = library().read(row)
    assert masks.prediction is None
    assert LEFT[focus_voxel(masks)]


def test_the_right_femur_of_a_bilateral_scan_is_shown_as_a_left_one(cohort, library):
    case_id = "aa_00000001_v01_b"
    both = LEFT.astype(np.uint8) + 2 * RIGHT.astype(np.uint8)
    cohort.add(case_id, both, both)
    masks = library().read(evaluated(cohort, case_id)[1])
    np.testing.assert_array_equal(masks.reference, RIGHT[:, :, ::-1])


def test_a_scan_on_another_grid_is_not_shown(cohort, library):
    cohort.add(CASE, LEFT, LEFT)
    row, = evaluated(cohort, CASE)
    image = np.arange(LEFT.size, dtype=np.int16).reshape(LEFT.shape)
    path = write_mask(cohort.root / "images" / f"{CASE}_0000.nii.gz", image)
    np.testing.assert_array_equal(library(cohort.root / "images").read(row, with_image=True).image, image)
    write_mask(path, image, origin_mm=(0.0, 0.0, 0.0))
    assert library(cohort.root / "images").read(row, with_image=True).image is None


def test_the_cross_marks_the_farthest_border_voxel(cohort, library):
    prediction = LEFT.copy()
    prediction[3, 3, 6:9] = True  # a spike of three voxels
    cohort.add(CASE, LEFT, prediction)
    assert focus_voxel(library().read(evaluated(cohort, CASE)[0])) == (3, 3, 8)


def test_the_worst_come_first_and_missed_ones_before_all(cohort):
    cohort.add("aa_00000001_v01_l", LEFT, LEFT)
    cohort.add("aa_00000002_v01_l", LEFT, np.roll(LEFT, 2, axis=2))
    cohort.add("aa_00000003_v01_l", LEFT, None)
    rows = [row for number in (1, 2, 3) for row in evaluated(cohort, f"aa_0000000{number}_v01_l")]
    assert [row.case_id[10] for row in worst_rows(rows, ["model"])] == ["3", "2", "1"]
    other = [replace(row, arm="other") for row in rows]
    assert [row.arm for row in worst_rows([*rows, *other], ["other", "model"])] == ["other"] * 3 + ["model"] * 3


def test_the_folders_of_a_comparison_are_found_in_the_arms_own_results(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text(json.dumps({"arguments": {
        "arm": "model", "predictions": "P", "references": "R", "images": "I"}}))
    found = sources_of_run(tmp_path, {"arguments": {"arms": {"grl": str(tmp_path / "a"), "mmd": "Q"}}})
    assert {arm: path.name for arm, path in found.predictions.items()} == {"grl": "P", "mmd": "Q"}
    assert (found.references.name, found.images.name) == ("R", "I")
    assert found.present() == PictureSources()
