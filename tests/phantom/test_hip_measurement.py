from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from kit_label_map import write_kit_label_map
from real_data import real_data

from femur_nnunet.phantom.anatomy import SIDES, Participant
from femur_nnunet.phantom.hip_measurement import measure_hips
from femur_nnunet.phantom.label_maps import read_label_map

MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "hip_anatomy.csv"


def test_the_kit_s_own_hips_measure_as_they_were_made(participant: Participant, tmp_path: Path) -> None:
    write_kit_label_map(tmp_path / "kit.nii.gz", participant, spacing_mm=1.6)
    found = measure_hips(read_label_map(tmp_path / "kit.nii.gz"))
    assert found.head_distance_mm == pytest.approx(participant.head_distance_mm, abs=0.5)
    for side in SIDES:
        anatomy = participant.femora[side]
        assert found.femora[side].head_radius_mm == pytest.approx(anatomy.head_radius_mm, abs=0.3)
        # The dome of the kit's cup is a sphere around the head at the asked gap.
        assert found.joint_gap_mm[side] == pytest.approx(anatomy.joint_gap_mm, abs=0.35)
        assert found.narrowest_gap_mm[side] > 1.0


@pytest.mark.parametrize("name", ["s17", "s32"])
def test_real_hips_measure_as_in_the_committed_table(name: str) -> None:
    found = measure_hips(read_label_map(real_data("hip_labels", f"{name}.nii.gz")))
    with MEASURED.open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["map"] == name]
    assert [row["side"] for row in rows] == list(SIDES)
    for row, side in zip(rows, SIDES, strict=True):
        femur = found.femora[side]
        assert found.joint_gap_mm[side] == pytest.approx(float(row["joint_gap_mm"]), abs=0.01)
        for key in ("head_radius_mm", "neck_half_minor_mm", "offset_mm", "neck_shaft_angle_deg"):
            value = getattr(femur, key)
            assert row[key] == "" if value is None else np.isclose(value, float(row[key]), atol=0.02)
