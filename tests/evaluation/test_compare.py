from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from evaluation_cohort import Cohort, write_mask
from shapes import block

from femur_nnunet.errors import UsageError
from femur_nnunet.evaluation.compare import CompareOptions, compare
from femur_nnunet.evaluation.eval_command import main
from femur_nnunet.evaluation.options import StatisticsOptions

MASK = block((6, 8, 12), (1, 2, 2), (5, 6, 6))
CASES = [f"{site}_{number:08x}_v01_l" for number, site in enumerate(("tulane", "tulane", "rochester", "rochester"))]


@pytest.fixture
def cohort(tmp_path):
    """The arm in P is perfect; the one in Q is shifted by two voxels at rochester."""
    cohort = Cohort(tmp_path)
    for case in CASES:
        cohort.add(case, MASK, MASK)
        write_mask(tmp_path / "Q" / f"{case}.nii.gz", np.roll(MASK, 2 if case.startswith("rochester") else 0, 2))
    return cohort


def test_folders_of_predictions_and_earlier_results_are_compared_alike(cohort):
    root = cohort.root
    common = ["--scans", str(cohort.scans), "--bootstrap", "50", "--jobs", "1", "--quiet"]
    assert main([str(root / "Q"), str(root / "R"), *common, "--out", str(root / "earlier"), "--arm", "any name"]) == 0
    assert main(["--compare", f"source_only={root / 'earlier'}", f"grl={root / 'P'}", "--references", str(root / "R"),
                 *common, "--out", str(root / "mixed")]) == 0
    assert main(["--compare", f"source_only={root / 'Q'}", f"grl={root / 'P'}", "--references", str(root / "R"),
                 *common, "--out", str(root / "direct")]) == 0
    assert (root / "mixed" / "compare.csv").read_bytes() == (root / "direct" / "compare.csv").read_bytes()
    with (root / "mixed" / "compare.csv").open(newline="") as handle:
        dice = {row["site"]: row for row in csv.DictReader(handle) if row["metric"] == "dice"}
    assert float(dice["rochester"]["difference"]) == pytest.approx(0.5)
    assert float(dice["tulane"]["difference"]) == 0
    assert (dice["rochester"]["arm_a"], dice["rochester"]["arm_b"]) == ("source_only", "grl")
    record = json.loads((root / "mixed" / "run.json").read_text())
    assert set(record["outputs_sha256"]) == {"cases.csv", "sites.csv", "gap.csv", "agreement.csv", "compare.csv"}
    assert record["counts"]["ok"] == 8


def test_wrong_use_is_told(cohort):
    options = {"references": None, "scans": cohort.scans, "out": cohort.root / "out", "quiet": True,
               "statistics": StatisticsOptions(resamples=10)}
    with pytest.raises(UsageError, match="two arms"):
        compare(CompareOptions(arms={"grl": cohort.predictions}, **options))
    with pytest.raises(UsageError, match="--references"):
        compare(CompareOptions(arms={"a": cohort.predictions, "b": cohort.root / "Q"}, **options))
    common = ["--scans", str(cohort.scans), "--out", str(cohort.root / "out"), "--quiet"]
    arm = f"a={cohort.predictions}"
    assert main(common) == 2
    assert main(["--compare", arm, arm, *common]) == 2
    assert main([str(cohort.predictions), str(cohort.references), "--compare", arm, *common]) == 2
    with pytest.raises(SystemExit):
        main(["--compare", "no folder", *common])
