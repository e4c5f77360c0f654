"""qform and sform of a NIfTI file must tell the same positions."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.masks import read_mask
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.volume import Grid

VALUES = np.random.default_rng(0).integers(-1024, 2000, (6, 5, 4)).astype(np.int16)
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (12, -7, 160), degrees=True).as_matrix() * (0.75, 0.5, -2.5)
AFFINE[:3, 3] = 100.5, -20.25, 900


def write(path: Path, sform: np.ndarray, *, qform_code: int = 1, sform_code: int = 1,
          order: str = "<") -> Path:
    """Write with nibabel, whose quaternions are independent of ours."""
    image = nibabel.Nifti1Image(VALUES, None, header=nibabel.Nifti1Header(endianness=order))
    image.set_qform(AFFINE, qform_code)
    image.set_sform(sform, sform_code)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_forms_that_agree_pass_and_a_mirrored_one_is_refused(tmp_path: Path, order: str, name: str) -> None:
    assert read_volume(write(tmp_path / name, AFFINE, order=order)).grid.size_ijk == (6, 5, 4)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    # All corners move by twice their distance from the plane x = 0; the first lies 100.5 mm from it.
    corners = np.array([(i, j, k, 1) for i in (0, 5) for j in (0, 4) for k in (0, 3)]) @ AFFINE.T
    told = f"{2 * np.abs(corners[:, 0]).max():.1f} mm apart"
    with pytest.raises(FemurError, match=rf"row 2: found a NIfTI file whose qform and sform contradict.*{told}"):
        read_volume(write(tmp_path / name, mirrored, order=order), subject="row 2")


@pytest.mark.parametrize(("shift_mm", "refused"), [(0.4, False), (0.6, True)])
def test_half_a_millimetre_is_allowed(tmp_path: Path, shift_mm: float, refused: bool) -> None:
    shifted = AFFINE.copy()
    shifted[1, 3] += shift_mm
    path = write(tmp_path / "scan.nii", shifted)
    if refused:
        with pytest.raises(FemurError, match=r"up to 0\.6 mm apart"):
            read_volume(path)
    else:
        read_volume(path)


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 0), (0, 1)])
def test_a_form_that_is_switched_off_may_say_anything(tmp_path: Path, qform_code: int, sform_code: int) -> None:
    sform = AFFINE if sform_code else np.eye(4) * 7
    path = write(tmp_path / "scan.nii", sform, qform_code=qform_code, sform_code=sform_code)

    grid = read_volume(path).grid

    expected = np.diag([-1, -1, 1]) @ AFFINE[:3, 3]
    np.testing.assert_allclose(grid.origin_mm_lps, expected, atol=1e-4)


def test_a_mask_with_two_positions_is_refused_too(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.nii.gz", np.diag([1.0, 1, 1, 1]))
    with pytest.raises(FemurError, match="qform and sform contradict"):
        read_mask(path, Grid((6, 5, 4), (0.75, 0.5, 2.5), (0, 0, 0)))
