from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from femur_nnunet.errors import FemurError
from femur_nnunet.phantom.anatomy_file import ANATOMY_FILE, anatomy_hash, load_anatomy

MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "hip_anatomy.csv"
FROM_MAPS = ("head_radius_mm", "head_distance_mm", "joint_gap_mm", "neck_half_minor_mm", "neck_half_major_mm",
             "neck_shaft_angle_deg", "offset_mm", "shaft_radius_mm", "trochanter_height_mm", "trochanter_width_mm")


def subject_means(name: str) -> dict[str, float]:
    values = defaultdict(list)
    with MEASURED.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if row[name]:
                values[row["map"]].append(float(row[name]))
    return {key: float(np.mean(found)) for key, found in values.items()}


@pytest.mark.parametrize("name", FROM_MAPS)
def test_the_file_holds_the_mean_and_sd_of_the_measured_table(name: str) -> None:
    quantity, measured = load_anatomy().quantities[name], np.array(list(subject_means(name).values()))
    assert quantity.why.startswith("label maps")
    assert f"{len(measured)} subjects" in quantity.why
    assert quantity.mean == pytest.approx(measured.mean(), abs=0.06)
    assert quantity.sd == pytest.approx(measured.std(ddof=1), abs=0.06)


@pytest.mark.parametrize("name", ["head_distance_mm", "neck_half_minor_mm", "neck_half_major_mm", "offset_mm",
                                  "shaft_radius_mm", "trochanter_height_mm", "trochanter_width_mm"])
def test_the_file_holds_the_measured_correlation_with_the_head_s_size(name: str) -> None:
    radius, values = subject_means("head_radius_mm"), subject_means(name)
    measured = np.corrcoef([radius[key] for key in values], list(values.values()))[0, 1]
    assert load_anatomy().quantities[name].r == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize("name", ["offset_mm", "trochanter_height_mm"])
def test_the_file_holds_the_measured_correlation_with_the_neck_shaft_angle(name: str) -> None:
    angle, values = subject_means("neck_shaft_angle_deg"), subject_means(name)
    measured = np.corrcoef([angle[key] for key in values], list(values.values()))[0, 1]
    assert load_anatomy().quantities[name].q == pytest.approx(measured, abs=0.02)


def test_both_sexes_together_have_the_maps_mean_and_spread() -> None:
    anatomy = load_anatomy()
    (women, within), (men, same) = anatomy.head_radius_by_sex["F"], anatomy.head_radius_by_sex["M"]
    assert within == same
    assert men / women == pytest.approx(50.1 / 45.8, abs=0.001)
    assert (women + men) / 2 == pytest.approx(23.25)
    # Variance of an even mixture: within plus the square of half the distance of the means.
    assert within ** 2 + ((men - women) / 2) ** 2 == pytest.approx(2.37 ** 2)


def test_every_quantity_says_where_it_comes_from_and_the_hash_follows_the_bytes(tmp_path: Path) -> None:
    assert all(len(quantity.why) > 10 for quantity in load_anatomy().quantities.values())
    copy = tmp_path / "copy.json"
    copy.write_bytes(ANATOMY_FILE.read_bytes() + b" ")
    assert anatomy_hash(copy) != anatomy_hash()


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    content = json.loads(ANATOMY_FILE.read_text(encoding="utf-8"))
    content["quantities"]["offset_mm"]["median"] = 40.0
    path = tmp_path / "anatomy.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FemurError, match="median"):
        load_anatomy(path)
