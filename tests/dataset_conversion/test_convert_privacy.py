from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_factory import write_ct_series
from qct_sites import ORIGIN_MM, SPACING_MM_XYZ, SiteFolder, hip_scan, write_image

from femur_nnunet.dataset_conversion import convert_command

MARKER = "Zyxmarker"
MAIN = "import sys; from femur_nnunet.dataset_conversion.convert_command import main; sys.exit(main())"


def plant(dataset: Any, index: int) -> None:
    """Write the marker into names, ids, dates, free text, private elements and one element of a wrong form."""
    dataset.PatientName = f"{MARKER}^Jane"
    dataset.PatientID = dataset.AccessionNumber = dataset.StudyID = MARKER
    dataset.InstitutionName = dataset.OperatorsName = dataset.ReferringPhysicianName = MARKER
    dataset.StudyDescription = dataset.SeriesDescription = dataset.ProtocolName = MARKER
    dataset.ImageComments = dataset.PatientComments = dataset.StationName = dataset.DeviceSerialNumber = MARKER
    dataset.add_new(0x00100030, "LO", f"{MARKER} is no date")
    block = dataset.private_block(0x0029, f"{MARKER} CREATOR", create=True)
    block.add_new(0x10, "LO", MARKER)


@pytest.fixture
def marked_site(tmp_path: Path) -> SiteFolder:
    site = SiteFolder(tmp_path / f"{MARKER} hospital", "oslo")
    site.add(MARKER, name=f"{MARKER}_scan", role="train")
    good = site.add("P2", name="x", role="train", seed=9)
    good["image"] = f"images/{MARKER} series"
    write_ct_series(site.folder / good["image"], (hip_scan(9)[0] + 1024).astype(np.uint16),
                    spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=ORIGIN_MM, change=plant, suffix=f"_{MARKER}.dcm")
    broken = site.add(f"{MARKER}3", name=f"{MARKER}_broken", role="train")
    (site.folder / broken["image"]).write_bytes(MARKER.encode() * 100)
    torn = site.add("P4", name="torn", role="train", seed=10)
    torn["image"] = f"images/{MARKER} torn"
    paths = write_ct_series(site.folder / torn["image"], (hip_scan(10)[0] + 1024).astype(np.uint16),
                            spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=ORIGIN_MM, change=plant)
    paths[4].unlink()
    odd_mask = site.add("P5", name=f"{MARKER}_odd", role="train", seed=11)
    write_image(site.folder / odd_mask["mask"], hip_scan(11)[1][:-1])
    site.add("P6", role=f"{MARKER} role")
    site.add("P7", name="gone")["image"] = f"images/{MARKER} gone.mha"
    site.rows[0]["remarks"] = f"{MARKER} remarks"
    return site


def test_a_planted_marker_is_nowhere_in_the_dataset_and_nowhere_in_the_messages(
        marked_site: SiteFolder, tmp_path: Path) -> None:
    manifest = marked_site.save(f"{MARKER}.csv")
    done = subprocess.run([sys.executable, "-c", MAIN, "--manifest", str(manifest), "--out", str(tmp_path / "raw"),
                           "--jobs", "2", "--verbose"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    for row in (4, 5, 6, 7, 8):
        assert done.stderr.count(f"manifest row {row}") == 1
    assert MARKER.lower() not in (done.stdout + done.stderr).lower()
    dataset = tmp_path / "raw" / "Dataset501_ProximalFemur"
    files = [path for path in dataset.rglob("*") if path.is_file()]
    assert sum(path.parent.name == "imagesTr" for path in files) == 4
    for path in files:
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        assert MARKER.lower() not in str(path.relative_to(tmp_path)).lower()
        assert MARKER.lower().encode() not in plain.lower()
        assert str(tmp_path).encode() not in plain
    assert MARKER in (tmp_path / "raw" / "femur_id_map_501.tsv").read_text(encoding="utf-8")


def test_identifiable_names_the_image_that_failed(marked_site: SiteFolder, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    manifest = marked_site.save()
    code = convert_command.main(["--manifest", str(manifest), "--out", str(tmp_path / "raw"), "--jobs", "1", "--quiet",
                                 "--identifiable", "--json"])
    assert code == 1
    output = capsys.readouterr().out
    assert f"{MARKER}_broken.nii.gz" in output
    assert f"{MARKER} role" in output
