"""RT structure contours are filled on the slices they lie on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_factory import save
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.volume import Grid

GRID = Grid((20, 16, 5), (0.5, 0.75, 2.0), (-3.0, 4.0, 100.0),
            tuple(float(v) for v in Rotation.from_euler("z", 10, degrees=True).as_matrix().ravel()))

Contour = tuple[int, float, list[tuple[float, float]]]  # ROI number, slice, (i, j) corners


def box(i0: float, i1: float, j0: float, j1: float) -> list[tuple[float, float]]:
    return [(i0, j0), (i1, j0), (i1, j1), (i0, j1)]


def write_rtstruct(path: Path, contours: list[Contour]) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, "1.2.3.4"
    dataset.Modality = "RTSTRUCT"
    dataset.ROIContourSequence = []
    for number in sorted({number for number, _, _ in contours}):
        roi = Dataset()
        roi.ReferencedROINumber = number
        roi.ContourSequence = []
        for owner, k, corners in contours:
            if owner == number:
                item = Dataset()
                item.ContourGeometricType = "CLOSED_PLANAR"
                item.ContourData = [round(float(v), 4) for i, j in corners for v in GRID.world_mm_lps((i, j, k))]
                item.NumberOfContourPoints = len(corners)
                roi.ContourSequence.append(item)
        dataset.ROIContourSequence.append(roi)
    save(dataset, path)
    return path


def test_boxes_are_filled_and_inner_contours_are_holes(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", [(1, 2, box(1.5, 9.5, 2.5, 10.5)), (1, 2, box(3.5, 5.5, 4.5, 6.5)),
                                                (2, 3, box(10.5, 14.5, 0.5, 3.5))])
    expected = np.zeros(GRID.shape_kji, dtype=np.uint8)
    expected[2, 3:11, 2:10] = 1
    expected[2, 5:7, 4:6] = 0
    expected[3, 1:4, 11:15] = 2

    np.testing.assert_array_equal(read_mask(path, GRID), expected)


def test_a_disc_has_the_area_of_its_circle(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    # A circle of 3.5 mm radius: voxels of 0.5 x 0.75 mm.
    corners = [(9.3 + 3.5 * np.cos(a) / 0.5, 7.6 + 3.5 * np.sin(a) / 0.75) for a in angles]

    mask = read_mask(write_rtstruct(tmp_path / "rs.dcm", [(1, 1, corners)]), GRID)

    assert mask[1].sum() * 0.5 * 0.75 == pytest.approx(np.pi * 3.5 ** 2, rel=0.03)


@pytest.mark.parametrize(("contours", "told"), [
    ([(1, 2.4, box(1, 9, 2, 10))], "between its slices"),
    ([(1, 7, box(1, 9, 2, 10))], "outside the image"),
    ([(1, 2, box(1, 9, 2, 10)), (2, 2, box(3, 6, 4, 8))], "inside two ROIs"),
    ([(300, 2, box(1, 9, 2, 10))], "the ROI number 300"),
    ([], "without closed planar contours"),
])
def test_contours_that_do_not_fit_are_refused(tmp_path: Path, contours: list[Contour], told: str) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", contours)

    with pytest.raises(FemurError, match=f"row 1: found .*{told}"):
        read_mask(path, GRID, subject="row 1")
