from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_cohort import Cohort
from headless_browser import HeadlessBrowser
from kit_femora import write_femora

from femur_nnunet.evaluation.agreement import agreement_row, write_agreement
from femur_nnunet.evaluation.case_table import read_cases
from femur_nnunet.evaluation.density.density_row import DensityRow, write_density
from femur_nnunet.evaluation.density.density_status import DensityStatus
from femur_nnunet.evaluation.density.density_table import DensityTable
from femur_nnunet.evaluation.eval_command import main
from femur_nnunet.evaluation.options import StatisticsOptions
from femur_nnunet.evaluation.report.page import REPORT_NAME
from femur_nnunet.evaluation.report.result_tables import read_result
from femur_nnunet.regions import Region

SECTIONS = ("summary", "table", "distributions-section", "cumulative-section", "gap-section", "volume-section",
            "density-section", "texture-section", "surface-section", "gallery-section", "training-section", "methods",
            "provenance")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three participants a site; Rochester's predictions have too large heads, and one is missing."""
    made = write_femora(Cohort(tmp_path_factory.mktemp("Patient_Name")))
    (made.predictions / "rochester_00000035_v01_l.nii.gz").unlink()
    return made


@pytest.fixture(scope="module")
def result(cohort):
    code = main([str(cohort.predictions), str(cohort.references), "--scans", str(cohort.scans), "--out",
                 str(cohort.root / "out"), "--bootstrap", "50", "--jobs", "1", "--quiet", "--report", "--methods",
                 "--tost-margin-ml", "5"])
    assert code == 1  # the missing prediction
    return cohort.root / "out"


@pytest.fixture(scope="module")
def text(result):
    return (result / REPORT_NAME).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))


def words_of(page, ident):
    found = next(element for element in page.iter("section") if element.get("id") == ident)
    return " ".join("".join(found.itertext()).split())


def test_the_page_is_well_formed_and_every_link_leads_somewhere(page):
    idents = Counter(element.get("id") for element in page.iter() if element.get("id"))
    assert [ident for ident, number in idents.items() if number > 1] == []
    assert set(SECTIONS) <= set(idents)
    links = [element.get("href") for element in page.iter() if element.get("href", "").startswith("#")]
    assert {link.removeprefix("#") for link in links} <= set(idents)
    used = {name for element in page.iter() for value in element.attrib.values()
            for name in re.findall(r"url\(#([^)]+)\)", value)}
    assert used
    assert used <= set(idents)


def test_the_page_needs_no_network_and_no_script_and_tells_no_folder(text, page):
    for forbidden in ("http:", "https:", "<script", "xmlns", "Patient_Name", "/tmp"):
        assert forbidden not in text
    sources = [value for element in page.iter() for name, value in element.attrib.items()
               if name in ("src", "href") and not value.startswith("#")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_every_figure_has_words_for_those_who_cannot_see_it(page):
    drawings = list(page.iter("svg"))
    assert len(drawings) >= 10
    assert all(drawing.get("role") == "img" and len(drawing.get("aria-label")) > 40 for drawing in drawings)
    assert all(any("".join(caption.itertext()).strip() for caption in figure.iter("figcaption"))
               for figure in page.iter("figure"))


def test_what_was_not_measured_is_said(page):
    assert "not measured (give --images)" in words_of(page, "density-section")
    assert "not measured (give --images and --texture)" in words_of(page, "texture-section")
    assert "no log given" in words_of(page, "training-section")


def test_the_missed_hip_is_counted_named_and_shown_first(page):
    assert "Rochester: 3 participants, 3 hips; 1 hip of 1 participant missed" in words_of(page, "summary")
    assert "rochester_00000035_v01_l" in words_of(page, "table")
    gallery = words_of(page, "gallery-section")
    assert gallery.index("rochester_00000035_v01_l") < gallery.index("HD95 ")


def test_the_error_that_was_made_stands_on_the_template(page):
    told = next(svg.get("aria-label") for svg in page.iter("svg") if "surface error" in svg.get("aria-label"))
    low, high = (float(value.replace("\N{MINUS SIGN}", "-")) for value in re.search(
        r"Rochester: from (\S+) to (\S+) mm", told).groups())
    # Heads are 2.5 mm too large, shafts 1.5 mm too thin, on voxels of 2 x 2 x 3 mm.
    assert 1.5 < high < 4.0
    assert -3.0 < low < -0.8


def test_the_same_tables_give_the_same_page(cohort, result, text, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(result, again)
    (again / REPORT_NAME).unlink()
    assert main(["--report-only", "--out", str(again), "--jobs", "1", "--quiet"]) == 0
    assert (again / REPORT_NAME).read_text(encoding="utf-8") == text


def with_density_and_texture(folder):
    """Add to a result: Rochester's neck 2 % denser in the prediction than in the reference, and one texture feature."""
    rows = read_cases(folder / "cases.csv")
    measured = [DensityRow(row.case_id, source, Region.NECK, "HA", vbmd_integral=(200.0 + number) * factor, arm=row.arm,
                           side=row.side) for number, row in enumerate(rows)
                for source, factor in (("reference", 1.0), ("prediction", 1.02))]
    measured[0] = replace(measured[0], status=DensityStatus.METAL)
    write_density(folder / "density.csv", measured)
    table = DensityTable().agreement(measured, rows, {}, StatisticsOptions(resamples=20, lsc_percent={}))
    values = np.array([1.0, 2.0, 3.0])
    texture = [replace(agreement_row(values, values + 0.1, arm="model", quantity="glcm.contrast", region=Region.TOTAL,
                                     site=site, sex="all", n_missed=0, resamples=20, seed=0), unit="1")
               for site in ("tulane", "rochester")]
    write_agreement(folder / "agreement.csv", [*read_result(folder).agreement, *table, *texture])
    (folder / "radiomics.csv").write_text("arm\n")


def test_without_the_masks_the_tables_still_make_a_page_with_density_and_texture(cohort, result, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(result, alone)
    record = (alone / "run.json").read_text().replace(str(cohort.root), "gone")
    (alone / "run.json").write_text(record)
    with_density_and_texture(alone)
    assert main(["--report-only", "--out", str(alone), "--quiet"]) == 0
    page = ElementTree.fromstring((alone / REPORT_NAME).read_text().replace("<!DOCTYPE html>", ""))
    assert "left out: the folder of references is not where run.json says" in words_of(page, "gallery-section")
    assert "left out" in words_of(page, "surface-section")
    summary = words_of(page, "summary")
    assert "Rochester: neck integral vBMD bias +2.0 % (+4.0" in summary
    assert "mg/cc HA" in summary
    assert "within ±5.5 % (±11.1 mg/cc HA) (TOST p" in summary
    density = words_of(page, "density-section")
    assert "1 hip: metal within the mask" in density
    assert "Integral vBMD, neck (mg/cc HA)" in density
    assert [element.get("id") for element in page.iter("figure")].count("vbmd-integral-neck-mg-cc-HA") == 1
    assert "modelRochester31100" in words_of(page, "texture-section")  # n, features, of these above 0.9, 0.75, below
    assert "Image Biomarker Standardisation Initiative" in words_of(page, "methods")


@pytest.mark.parametrize(("options", "told"), [
    (["--report-only", "--out", "empty"], "no cases.csv"),
    (["--report-only", "--out", "result", "--training", "nowhere"], "no such folder"),
    (["--out", "result"], "no --scans")])
def test_a_page_of_nothing_ends_with_2_and_one_line(result, tmp_path, capsys, options, told):
    (tmp_path / "empty").mkdir()
    places = {"empty": str(tmp_path / "empty"), "result": str(result), "nowhere": str(tmp_path / "nowhere")}
    assert main([places.get(option, option) for option in options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_broken_table_ends_with_1_and_one_line(result, tmp_path, capsys):
    shutil.copytree(result, tmp_path / "broken")
    (tmp_path / "broken" / "gap.csv").write_text("arm,metric\nmodel,dice\n")
    assert main(["--report-only", "--out", str(tmp_path / "broken")]) == 1
    error = capsys.readouterr().err
    assert "gap.csv" in error
    assert len(error.splitlines()) == 1


def test_a_browser_loads_draws_and_prints_it_without_a_complaint(result, tmp_path):
    browser = HeadlessBrowser(tmp_path)
    picture = tmp_path / "page.png"
    assert browser.screenshot(result / REPORT_NAME, picture, 1100, 1400) == []
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(picture)))[..., :3].astype(int)
    assert drawn.shape == (1400, 1100, 3)
    inked = drawn.min(axis=2) < 128
    # Rows of text and figures all the way down, white ground between them.
    assert (inked.reshape(14, 100, 1100).sum(axis=(1, 2)) > 50).all()
    assert 0.005 < inked.mean() < 0.3
    printed = tmp_path / "page.pdf"
    assert browser.pdf(result / REPORT_NAME, printed) == []
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 4


def test_the_browser_would_tell_of_a_script_that_fails_and_of_a_file_from_the_network(tmp_path):
    browser = HeadlessBrowser(tmp_path)
    (tmp_path / "bad.html").write_text("<script>nothing.here()</script><img src='https://example.org/a.png'>")
    told = "\n".join(browser.screenshot(tmp_path / "bad.html", tmp_path / "bad.png", 200, 200))
    assert "nothing is not defined" in told
    assert "asked of a network: example.org" in told


def test_a_result_of_one_participant_makes_a_page_without_a_claim(tmp_path):
    cohort = write_femora(Cohort(tmp_path), people_a_site=1)
    assert main([str(cohort.predictions), str(cohort.references), "--scans", str(cohort.scans), "--out",
                 str(tmp_path / "out"), "--bootstrap", "20", "--jobs", "1", "--quiet", "--report"]) == 0
    page = ElementTree.fromstring((tmp_path / "out" / REPORT_NAME).read_text().replace("<!DOCTYPE html>", ""))
    summary = words_of(page, "summary")
    assert "no interval" in summary
    assert "worse" not in summary
    assert "nothing is shown" in summary
