from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series
from pydicom.dataset import Dataset
from qct_sites import ORIGIN_MM, SPACING_MM_XYZ, SiteFolder, hip_scan, write_image
from real_data import real_data

from femur_nnunet.dataset_conversion import convert_command
from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert
from femur_nnunet.volume_io.dicom_headers import quiet_pydicom

MARKER = "Zyxmarker"
MAIN = "import sys; from femur_nnunet.dataset_conversion.convert_command import main; sys.exit(main())"


# What the reader needs to take the file for a CT slice; everything else may hold the marker.
NEEDED = {"Modality", "ImageType", "RescaleType", "PhotometricInterpretation", "SpecificCharacterSet"}
# The allow-list's three texts are copied as the scanner wrote them, which the README says.
COPIED = {"Manufacturer", "ManufacturerModelName", "ConvolutionKernel"}
STRING_VRS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE", "AS", "UR"}
MARKER_DATE, MARKER_UID = "19210307", "1.2.826.0.98765432123456789"


def string_elements() -> list[tuple[int, str, str]]:
    """Tag, VR and keyword of every string element of the DICOM dictionary, of images and studies alike."""
    found = []
    for tag, (vr, _, _, retired, keyword) in pydicom.datadict.DicomDictionary.items():
        if keyword and tag >> 16 not in (0x0000, 0x0002) and keyword not in NEEDED | COPIED and not retired:
            found.append((tag, vr, keyword))
    return [item for item in found if item[1] in STRING_VRS | {"DA", "TM", "DT", "UI"}]


def plant(dataset: Any, index: int) -> None:
    """Write markers into every string element, nested and private ones, and one element of a wrong form."""
    with quiet_pydicom():
        _plant(dataset)


def _plant(dataset: Dataset) -> None:
    needed_uids = {"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"}
    for tag, vr, keyword in string_elements():
        if keyword in needed_uids:
            continue
        text = {"DA": MARKER_DATE, "TM": "031415", "DT": MARKER_DATE, "UI": MARKER_UID, "AS": "093Y"}.get(vr, MARKER)
        dataset.add_new(tag, vr, f"{MARKER}^Jane" if vr == "PN" else text)
    dataset.add_new(0x00100030, "LO", f"{MARKER} is no date")
    for group in (0x0009, 0x0019, 0x0029, 0x0043, 0x7FE1):
        block = dataset.private_block(group, f"{MARKER} {group:x}", create=True)
        for element, vr in enumerate(("LO", "SH", "LT", "PN", "UT", "UN", "OB"), start=0x10):
            block.add_new(element, vr, MARKER.encode() + b"0" if vr in ("UN", "OB") else MARKER)
    nested = Dataset()
    nested.PatientName = nested.CodeMeaning = nested.TextValue = MARKER
    dataset.RequestAttributesSequence = dataset.OtherPatientIDsSequence = [nested]


@pytest.fixture(scope="module")
def marked_site(tmp_path_factory: pytest.TempPathFactory) -> SiteFolder:
    site = SiteFolder(tmp_path_factory.mktemp("marked") / f"{MARKER} hospital", "oslo")
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
    packed = site.add("P8", name="packed", role="train", seed=12)
    packed["image"] = f"images/{MARKER}.zip"
    files = write_ct_series(site.folder / "to pack", (hip_scan(12)[0] + 1024).astype(np.uint16),
                            spacing_mm_ijk=SPACING_MM_XYZ, origin_mm=ORIGIN_MM, change=plant)
    with zipfile.ZipFile(site.folder / packed["image"], "w") as archive:
        archive.comment = MARKER.encode()
        for path in files:
            archive.write(path, f"{MARKER} study/{MARKER}_{path.name}")
    torn_archive = site.add("P9", name="torn archive", role="train", seed=13)
    torn_archive["image"] = f"images/{MARKER}_torn.zip"
    content = (site.folder / packed["image"]).read_bytes()
    (site.folder / torn_archive["image"]).write_bytes(content[:len(content) // 2])
    site.add("P7", name="gone")["image"] = f"images/{MARKER} gone.mha"
    site.rows[0]["remarks"] = f"{MARKER} remarks"
    return site


def test_a_planted_marker_is_nowhere_in_the_dataset_and_nowhere_in_the_messages(
        marked_site: SiteFolder, tmp_path: Path) -> None:
    manifest = marked_site.save(f"{MARKER}.csv")
    done = subprocess.run([sys.executable, "-c", MAIN, "--manifest", str(manifest), "--out", str(tmp_path / "raw"),
                           "--jobs", "2", "--verbose"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    for row in (4, 5, 6, 7, 9, 10):
        assert done.stderr.count(f"manifest row {row}") == 1, done.stderr
    dataset = tmp_path / "raw" / "Dataset501_ProximalFemur"
    files = [path for path in dataset.rglob("*") if path.is_file()]
    assert sum(path.parent.name == "imagesTr" for path in files) == 6
    assert_nothing_of({MARKER, MARKER_DATE, MARKER_UID}, dataset, done.stdout + done.stderr)
    # The command says where the dataset lies; the dataset itself does not.
    assert_nothing_of({str(tmp_path)}, dataset, "")
    assert MARKER in (tmp_path / "raw" / "femur_id_map_501.tsv").read_text(encoding="utf-8")


def test_a_planted_marker_is_nowhere_in_what_a_check_writes_and_says(marked_site: SiteFolder, tmp_path: Path) -> None:
    manifest = marked_site.save(f"{MARKER}.csv")
    done = subprocess.run([sys.executable, "-c", MAIN, "--check", "--manifest", str(manifest), "--out",
                           str(tmp_path / "raw"), "--jobs", "2", "--verbose"], capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 1
    assert done.stdout.count("stop  manifest row") >= 6, done.stdout
    folder = tmp_path / "raw" / "preflight_501"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "preflight.csv", "preflight.html", "run.json"}
    assert_nothing_of({MARKER, MARKER_DATE, MARKER_UID}, folder, done.stdout + done.stderr)


def test_descriptions_and_comments_of_image_files_and_masks_do_not_come_along(tmp_path: Path) -> None:
    site = SiteFolder(tmp_path / "site", "oslo")
    for number, kind in enumerate((".nii.gz", ".mha", ".nrrd")):
        row = site.add(f"P{number}", kind=kind, role="train", seed=20 + number)
        for name in (row["image"], row["mask"]):
            path = site.folder / name
            image = sitk.ReadImage(str(path))
            for key in ("descrip", "aux_file", "intent_name", "Comment", "patient", "Name"):
                image.SetMetaData(key, f"{MARKER} {key}"[:15 if key == "intent_name" else 23])
            sitk.WriteImage(image, str(path))
            content = path.read_bytes()
            assert MARKER.encode() in (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    summary = convert(ConversionOptions(tmp_path / "raw", manifest=site.save(), key_seed=1, jobs=1, quiet=True))
    assert len(summary.records) == 6
    assert_nothing_of({MARKER}, summary.dataset_folder, "")


def assert_nothing_of(texts: set[str], dataset: Path, messages: str) -> None:
    """Search names and every byte of a dataset, packed files unpacked, and what the command printed."""
    wanted = {text.lower() for text in texts}
    found = {("messages", text) for text in wanted if text in messages.lower()}
    for path in dataset.rglob("*"):
        name = str(path.relative_to(dataset)).lower()
        content = path.read_bytes() if path.is_file() else b""
        plain = (gzip.decompress(content) if path.suffix == ".gz" else content).lower()
        found |= {(name, text) for text in wanted if text in name or text.encode("utf-8", "replace") in plain}
    assert not found


def test_the_markers_are_planted_in_every_kind_of_string_element(tmp_path: Path) -> None:
    dataset = Dataset()
    plant(dataset, 0)

    assert len(string_elements()) > 1500
    planted = sum(MARKER in str(element.value) for element in dataset)
    assert planted > 1000
    assert dataset.PatientName == f"{MARKER}^Jane"


def identifying_texts(folder: Path) -> set[str]:
    """Names of files and all texts in the headers of real series but for what the allow-list copies."""
    texts = set()
    allowed: set[str] = {"CT", "HU", "AXIAL", "ORIGINAL", "PRIMARY"}
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        texts.add(path.name)
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            for element in dataset.iterall():
                values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
                if element.VR not in STRING_VRS | {"DA", "TM", "DT", "UI"}:
                    continue
                into = allowed if element.keyword in COPIED else texts
                into |= {str(value).strip() for value in values}
    # Short words such as "M" or "STD" stand in any table; six characters and more are somebody's or something's name.
    return {text for text in texts if len(text) >= 6 and not any(text.lower() in word.lower() for word in allowed)}


def test_nothing_of_the_real_series_own_headers_and_names_is_in_the_dataset_or_the_messages(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = real_data("dicom")
    folders = [root / "abdomen_2mm_jpeg2000", root / "head_gantry_tilt_uneven_spacing",
               root / "irregular" / "sliceincrement" / "001", root / "irregular" / "gantrytilting" / "001",
               root / "irregular" / "notavolume" / "001", root / "irregular" / "slicecount" / "001"]
    manifest = tmp_path / "m.csv"
    rows = [f"real,P{number},{folder},left,train" for number, folder in enumerate(folders)]
    manifest.write_text("\n".join(["site,participant_id,image,side,role", *rows]) + "\n", encoding="utf-8")
    texts = set().union(*(identifying_texts(folder) for folder in folders))
    assert len(texts) > 100

    code = convert_command.main(["--manifest", str(manifest), "--out", str(tmp_path / "raw"), "--jobs", "1", "--json",
                                 "--resample-irregular", "--correct-tilt", "--verbose", "--key-seed", "1"])

    captured = capfd.readouterr()
    assert code == 1
    assert json.loads(captured.out)["cases"] >= 2  # the head and the abdomen; the others have 4 or 5 slices
    known = {"applied"}  # a value of one header, and a word of our own messages
    dataset = tmp_path / "raw" / "Dataset501_ProximalFemur"
    assert_nothing_of({text for text in texts if text.lower() not in known}, dataset, captured.out + captured.err)


def test_identifiable_names_the_image_that_failed(marked_site: SiteFolder, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    manifest = marked_site.save()
    code = convert_command.main(["--manifest", str(manifest), "--out", str(tmp_path / "raw"), "--jobs", "1", "--quiet",
                                 "--identifiable", "--json"])
    assert code == 1
    output = capsys.readouterr().out
    assert f"{MARKER}_broken.nii.gz" in output
    assert f"{MARKER} role" in output
