"""Which axis of the shift costs a network of the source site: one axis at another tier, the same people in each row.

    python benchmarks/tier_axes.py --work DIR --seed 103 --tiers severe

uses the networks that benchmarks/site_gap.py trained in ``--work`` (arm source_only). Rochester's test participants are
rendered once for each row; nothing is trained. It says where a new version of the tiers has to change, and is to be run
on tuning seeds (100 to 199) alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench_support import RESULTS, publish
from site_gap_arms import CPU, MASKS, Run
from site_gap_runs import evaluate_masks, prediction_command

from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.evaluation.case_table import CASES_NAME, read_cases
from femur_nnunet.evaluation.participants import participant_means
from femur_nnunet.phantom.tiers import AXIS_NAMES, TIER_NAMES, tier_hash

FIRST_DATASET, BASE = 560, "moderate"
METRICS = ("dice", "hd95_mm", "assd_mm")


def variants(tiers: list[str]) -> Iterator[tuple[str, str]]:
    """Yield axis and tier of each row; the first is the base, with no axis changed."""
    yield "none", BASE
    for axis in AXIS_NAMES:
        yield from ((axis, tier) for tier in tiers if tier != BASE)


def measure(run: Run, number: int, axis: str, tier: str, participants: int) -> dict[str, object]:
    """Render, predict and measure one variant and return its row: means over participants."""
    folder = run.work / f"axes_seed{run.seed}" / f"{axis}_{tier}"
    environment = nnunet_environment(run.root)
    raw, dataset = folder / "nnUNet_raw", str(FIRST_DATASET + number)
    change = () if axis == "none" else (f"--{axis}-tier", tier)
    images = raw / f"Dataset{dataset}_ProximalFemur"
    common = ("--jobs", str(run.jobs), "--quiet")
    StepRunner(folder, quiet=True).run([
        Step("phantom", "Render",
             ("femur_phantom", "--out", str(folder / "sites"), "--preset", "demo", "--tier", BASE, *change, "--seed",
              str(run.seed), "--n-tulane", "2", "--n-test-tulane", "1", "--n-rochester", str(participants + 2),
              "--n-test-rochester", str(participants), *common), environment),
        # Rochester alone: Tulane's cost is known from the networks' own cohort.
        Step("convert", "Convert",
             ("convert_qct_sites", "--rochester", str(folder / "sites" / "rochester"), "--out", str(raw),
              "--dataset-id", dataset, "--key-seed", str(run.seed), *common), environment, accepted_codes=(0, 1)),
        Step("predict", "Predict", prediction_command(run, images / "imagesTs", folder / "raw", "512"),
             environment, bar_pattern=r"^Predicting ")])
    evaluate_masks(run, images, folder)
    row: dict[str, object] = {"axis": axis, "tier": tier, "seed": run.seed}
    for masks in MASKS:
        cases = read_cases(folder / f"evaluation_{masks}" / CASES_NAME)
        row |= {"participants": len({case.participant_id for case in cases}), "hips": len(cases)}
        row |= {f"{metric}_{masks}": round(statistics.fmean(participant_means(cases, metric).values()), 4)
                for metric in METRICS}
    return {**row, "tiers_sha256": tier_hash()[:12]}


def main() -> None:
    """Measure every variant and publish the table after each."""
    parser = argparse.ArgumentParser(description="What each axis of the shift costs a network of the source site.")
    parser.add_argument("--work", type=Path, required=True, help="site_gap.py's --work, with the arm source_only")
    parser.add_argument("--seed", type=int, default=101, help="network and cohort (default: 101)")
    parser.add_argument("--tiers", nargs="+", choices=TIER_NAMES, default=["severe"], help="tiers (default: severe)")
    parser.add_argument("--participants", type=int, default=8, help="test participants (default: 8)")
    parser.add_argument("--epochs", type=int, default=CPU.epochs, help=f"of its training (default: {CPU.epochs})")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--device", default="cpu", help="of prediction (default: cpu)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    options = parser.parse_args()
    run = Run("source_only", BASE, options.seed, replace(CPU, epochs=options.epochs), options.work.resolve(),
              options.device, options.jobs)
    rows: list[dict[str, object]] = []
    for number, (axis, tier) in enumerate(variants(options.tiers)):
        rows.append(measure(run, number, axis, tier, options.participants))
        publish("tier_axes.csv", rows, options.out, threads=os.environ.get("OMP_NUM_THREADS", "default"))


if __name__ == "__main__":
    main()
