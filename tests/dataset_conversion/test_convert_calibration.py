from __future__ import annotations

import json
from dataclasses import replace

import pytest
from qct_sites import SiteFolder, write_image

from femur_nnunet.calibration.phantoms import load_phantoms
from femur_nnunet.cohort import read_scans_table
from femur_nnunet.dataset_conversion.case_conversion import calibration_of
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.dataset_conversion.convert_command import main
from femur_nnunet.dataset_conversion.manifest import ManifestRow
from femur_nnunet.phantom.calibration import ROD_DISTANCE_MM
from femur_nnunet.volume_io import read_volume

DENSITIES = (0.0, 80.0, 170.0, 310.0)
HU_PER_MG_CC, WATER_HU = 1.1, 4.0


@pytest.fixture
def site(tmp_path):
    """A site of two rows: the usual body, on rods of four densities of HA; the second row has values in its table."""
    site = SiteFolder(tmp_path / "tulane", "tulane")
    for participant, columns in (("T1", {"calibration_phantom": "ours"}), ("T2", {
            "calibration_phantom": "ours", "density_unit": "HA", "density_slope": 1.2, "density_intercept": 0})):
        site.add(participant, kind=".nii.gz", mask=False, **columns)
        path = site.folder / "images" / f"{participant}_1.nii.gz"
        array = read_volume(path).array
        bed = array[:, 40:]
        bed[:] = -1000
        for number, density in enumerate(DENSITIES):
            # Columns of 2.5 mm: rods as squares of 15 mm width in the lowest 12 mm of the image, below the body.
            middle = 62 + round(ROD_DISTANCE_MM / 2.5 * (number - 1.5))
            bed[:, :, middle - 3:middle + 4] = round(HU_PER_MG_CC * density + WATER_HU)
        write_image(path, array)
    site.save()
    (tmp_path / "phantoms.json").write_text(json.dumps({"schema": 1, "phantoms": [
        {"name": "ours", "unit": "HA", "rods": [{"density_mg_cc": value} for value in DENSITIES],
         "rod_radius_mm": 5, "spacing_mm": [30, 40]}]}))
    return site


def converted(tmp_path, mode):
    options = ConversionOptions(out=tmp_path / "raw", tulane=tmp_path / "tulane", key_seed=1, jobs=1, quiet=True,
                                calibrate=mode, phantom_table=tmp_path / "phantoms.json", test_fraction=0)
    summary = convert(options)
    records = read_scans_table(summary.dataset_folder / "scans.tsv")
    by_slope = {record.calibration_source: record for record in records}
    return summary, by_slope


def test_rods_fill_the_cohort_table_where_the_manifest_has_no_values(tmp_path, site):
    summary, by_source = converted(tmp_path, "auto")
    rods, table = by_source["rods"], by_source["table"]
    assert (rods.density_unit, rods.calibration_phantom) == ("HA", "ours")
    assert rods.density_slope == pytest.approx(1 / HU_PER_MG_CC, rel=0.01)
    assert rods.density_intercept == pytest.approx(-WATER_HU / HU_PER_MG_CC, abs=1.0)
    assert rods.calibration_r2 > 0.999
    assert rods.calibration_se_mg_cc < 1.0
    assert (table.density_slope, table.calibration_r2, table.calibration_se_mg_cc) == (1.2, None, None)
    report = (summary.dataset_folder / "conversion_report.csv").read_text()
    assert "calibration: the table's slope and intercept differ from the rods' fit" in report
    assert "1 scan(s) with a remark on their density calibration" in " ".join(summary.warnings)


def test_the_mode_table_leaves_other_scans_without_a_line(tmp_path, site):
    _, by_source = converted(tmp_path, "table")
    assert set(by_source) == {None, "table"}
    assert by_source[None].density_slope is None


def test_another_mode_converts_the_rows_anew(tmp_path, site):
    converted(tmp_path, "table")
    _, by_source = converted(tmp_path, "rods")
    assert set(by_source) == {"rods"}


def test_a_broken_phantom_table_is_a_wrong_usage(tmp_path, site, capsys):
    (tmp_path / "phantoms.json").write_text("{}")
    assert main(["--tulane", str(tmp_path / "tulane"), "--out", str(tmp_path / "raw"), "--key-seed", "1",
                 "--phantom-table", str(tmp_path / "phantoms.json")]) == 2
    assert "phantom table" in capsys.readouterr().err


def test_a_scan_in_another_axis_order_has_the_same_calibration(tmp_path, site):
    volume = read_volume(site.folder / "images" / "T1_1.nii.gz")
    flipped = replace(volume, array=volume.array[::-1, :, ::-1], grid=replace(
        volume.grid, direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1)))
    row = ManifestRow("manifest", 2, "tulane", "T1", site.folder, density_unit="HA", density_slope=1.0,
                      density_intercept=0.0, calibration_phantom="ours")
    phantoms = load_phantoms(tmp_path / "phantoms.json")
    assert calibration_of(flipped, row, "rods", phantoms) == calibration_of(volume, row, "rods", phantoms)
