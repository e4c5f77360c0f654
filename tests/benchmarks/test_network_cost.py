from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "network_cost.py"


def test_the_benchmark_of_networks_runs_and_gives_every_row(tmp_path):
    subprocess.run([sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path)], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})
    with (tmp_path / "network_cost.csv").open() as handle:
        rows = {row["what"]: row for row in csv.DictReader(handle)}
    assert list(rows) == ["PlainConvUNet", "ResidualEncoderUNet", "TransUNet3D", "TransUNet3D, checkpointing",
                          "training step, segmentation alone", "training step with adaptation terms",
                          "adaptation terms alone", "CT augmentation of a patch, every effect"]
    assert rows["ResidualEncoderUNet"]["ratio"] == rows["training step, segmentation alone"]["ratio"] == "1.0"
    assert all(float(row["seconds"]) > 0 for row in rows.values())
    # The transformer is all that the TransUNet adds to the plain U-Net; checkpointing adds no weight.
    assert int(rows["TransUNet3D"]["parameters"]) > int(rows["PlainConvUNet"]["parameters"])
    assert rows["TransUNet3D"]["parameters"] == rows["TransUNet3D, checkpointing"]["parameters"]
