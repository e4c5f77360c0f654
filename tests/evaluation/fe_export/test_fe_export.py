from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scans import hip_scan

from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.fe_export.export import ExportStatus, FeExport, export_femur
from femur_nnunet.evaluation.fe_export.isotropic import resample, signed_distance
from femur_nnunet.evaluation.fe_export.surface import Surface, closed_surface
from femur_nnunet.phantom.one_hip import HipScan
from femur_nnunet.regions import REGION_MAP_LABELS
from femur_nnunet.volume_io.volume import Grid

Exported = tuple[HipScan, FeExport, dict[str, object]]


@pytest.fixture(scope="module")
def coarse() -> HipScan:
    return hip_scan(104, "mild", "left", 1.5, 3.0)


@pytest.fixture(scope="module")
def exported(coarse: HipScan, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("fe")
    result = export_femur(folder / "femora", "case", coarse.hu, coarse.mask, coarse.grid, side="left",
                          calibration=coarse.calibration, spacing_mm=1.5, facts={"case_id": "case"})
    return coarse, result, json.loads(result.files["sidecar"].read_text(encoding="utf-8"))


def read_stl(path: Path) -> Surface:
    """An STL file's triangles, corners of equal position joined."""
    content = path.read_bytes()
    count = int(np.frombuffer(content, "<u4", 1, 80)[0])
    corners = np.frombuffer(content, np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]), count, 84)["c"]
    vertices, faces = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return Surface(vertices.astype(np.float64), faces.reshape(-1, 3).astype(np.int64))


def test_the_surface_of_a_femur_that_the_image_cuts_is_closed_and_a_ball(exported: Exported) -> None:
    scan, result, sidecar = exported
    assert result.status == (ExportStatus.OK,)
    surface = read_stl(result.files["surface"])
    assert scan.mask[0].any()
    assert surface.is_closed
    assert surface.euler_characteristic == 2
    mask_mm3 = scan.mask.sum() * np.prod(scan.spacing_mm_zyx)
    assert surface.volume_mm3 == pytest.approx(mask_mm3, rel=0.015)
    assert sidecar["surface"]["volume_ml"] == pytest.approx(surface.volume_mm3 / 1000, rel=1e-3)


def test_the_surface_lies_where_the_mask_lies(exported: Exported) -> None:
    scan, result, _ = exported
    surface = read_stl(result.files["surface"])
    inside = np.argwhere(scan.mask)[:, ::-1]
    for corner, outermost in ((inside.min(axis=0) - 0.5, surface.vertices.min(axis=0)),
                              (inside.max(axis=0) + 0.5, surface.vertices.max(axis=0))):
        # A shape between thick slices may end anywhere within the last one.
        world = scan.grid.world_mm_lps(tuple(corner))
        assert np.abs(outermost - world).max() < 0.6 * max(scan.spacing_mm_zyx)


def test_mask_regions_and_density_share_one_isotropic_grid(exported: Exported) -> None:
    scan, result, sidecar = exported
    images = {kind: sitk.ReadImage(str(result.files[kind])) for kind in ("mask", "regions", "density")}
    assert {image.GetSpacing() for image in images.values()} == {(1.5, 1.5, 1.5)}
    assert len({(image.GetSize(), image.GetOrigin()) for image in images.values()}) == 1
    mask, regions = (sitk.GetArrayFromImage(images[kind]) for kind in ("mask", "regions"))
    np.testing.assert_array_equal(mask > 0, regions > 0)
    assert mask.sum() * 1.5 ** 3 == pytest.approx(scan.mask.sum() * np.prod(scan.spacing_mm_zyx), rel=0.01)
    for region, label in REGION_MAP_LABELS.items():
        # Pixels of 1.5 mm are beyond those for which docs/density.md shows 3 %.
        true_ml = scan.truth["regions"][region.value]["volume_ml"]
        assert (regions == label).sum() * 1.5 ** 3 / 1000 == pytest.approx(true_ml, rel=0.07)
    assert sidecar["region_labels"] == {"head": 1, "neck": 2, "trochanteric": 3, "shaft": 4}


def test_the_density_map_is_the_calibrated_scan_and_the_sidecar_says_so(exported: Exported) -> None:
    scan, result, sidecar = exported
    density = sitk.ReadImage(str(result.files["density"]))
    # A voxel centre of the source that is not near the edge: linear interpolation of its surroundings in world space.
    z, y, x = np.argwhere(scan.mask)[scan.mask.sum() // 2]
    place = scan.grid.world_mm_lps((float(x), float(y), float(z)))
    source = sitk.GetImageFromArray(scan.hu.astype(np.float32))
    source.SetSpacing(scan.grid.spacing_mm_ijk)
    source.SetOrigin(scan.grid.origin_mm_lps)
    index = density.TransformPhysicalPointToIndex(place.tolist())
    centre = density.TransformIndexToPhysicalPoint(index)
    hounsfield = source.EvaluateAtPhysicalPoint(centre, sitk.sitkLinear)
    assert density[index] == pytest.approx(scan.calibration.density_mg_cc(hounsfield), abs=0.5)
    assert sidecar["density"]["unit"] == f"mg/cc {scan.calibration.unit}"
    assert sidecar["frame"] == "LPS, mm"
    assert sidecar["source"]["case_id"] == "case"


def test_without_calibration_there_is_no_density_map(coarse: HipScan, tmp_path: Path) -> None:
    (tmp_path / "case_density.nii.gz").write_bytes(b"of an earlier run")
    result = export_femur(tmp_path, "case", coarse.hu, coarse.mask, coarse.grid, side="left", calibration=None,
                          spacing_mm=3.0)
    assert result.status == (ExportStatus.UNCALIBRATED,)
    assert "density" not in result.files
    assert not (tmp_path / "case_density.nii.gz").exists()
    assert json.loads(result.files["sidecar"].read_text(encoding="utf-8"))["density"] is None


def ball(radius: float, size: int = 40) -> np.ndarray:
    z, y, x = np.ogrid[:size, :size, :size]
    return (x - size / 2 + 0.5) ** 2 + (y - size / 2 + 0.5) ** 2 + (z - size / 2 + 0.5) ** 2 < radius ** 2


def test_a_ball_has_its_volume() -> None:
    surface = closed_surface(signed_distance(ball(15.0), (1.0, 1.0, 1.0)), 1.0)
    assert surface.is_closed
    assert surface.euler_characteristic == 2
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * 15.0 ** 3, rel=0.01)


def test_a_tunnel_is_a_handle_and_a_cavity_is_filled() -> None:
    with_tunnel = ball(15.0)
    with_tunnel[:, 17:23, 17:23] = False
    surface = closed_surface(signed_distance(with_tunnel, (1.0, 1.0, 1.0)), 1.0)
    assert surface.is_closed
    assert surface.euler_characteristic == 0
    hollow = ball(15.0) & ~ball(6.0)
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    femur = resample(np.zeros(hollow.shape, dtype=np.int16), hollow, grid, 1.0)
    assert closed_surface(femur.distance_mm, 1.0).euler_characteristic == 2


def test_a_surface_with_a_missing_triangle_is_not_closed() -> None:
    whole = closed_surface(signed_distance(ball(8.0, 20), (1.0, 1.0, 1.0)), 1.0)
    assert not Surface(whole.vertices, whole.faces[1:]).is_closed


def test_thick_slices_leave_no_steps() -> None:
    """A cone in slices of 3 mm: on a 1 mm grid it grows within slices too, not at every third step alone."""
    z, y, x = np.ogrid[:20, :60, :60]
    cone = (x - 29.5) ** 2 + (y - 29.5) ** 2 < (8.0 + 0.9 * z) ** 2
    grid = Grid((60, 60, 20), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))
    mask = resample(np.zeros(cone.shape, dtype=np.int16), cone, grid, 1.0).mask
    steps = np.diff(mask.sum(axis=(1, 2))[3:-3])
    assert (steps >= 0).all()
    # Repeated slices would grow in one step of three.
    assert (steps > 0).mean() > 0.6


@pytest.mark.parametrize("spacing_mm", [0.0, 0.1, 10.0, float("nan")])
def test_a_spacing_of_no_use_is_refused(coarse: HipScan, tmp_path: Path, spacing_mm: float) -> None:
    with pytest.raises(FemurError, match=r"expected 0\.3 to 5 mm"):
        export_femur(tmp_path, "case", coarse.hu, coarse.mask, coarse.grid, side="left", calibration=None,
                     spacing_mm=spacing_mm)
