"""What a shift between sites costs, and what each arm wins back, on the synthetic two-site cohort.

    python benchmarks/site_gap.py --work DIR --arms source_only nnunet_aug grl_mmd_aug --tiers moderate --seeds 1 2 3

Tulane is labelled, Rochester is not; both are evaluated on scans that no arm has seen. All arms take the same number of
steps with the same number of labelled patches. Rows are added to site_gap.csv (means over participants) and
site_gap_cases.csv (every hip) as each run ends, and a run whose rows are there is not done again. Dice is given for the
masks as the network leaves them, and for their largest component. Seeds 1 to 19 are for results, 100 to 199 for tuning.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

from bench_support import RESULTS, provenance
from site_gap_arms import ARMS, MASKS, TIERS, Run, Size
from site_gap_datasets import make_cohort, make_training_dataset
from site_gap_runs import case_rows, predict_and_measure, site_means, train

from femur_nnunet.command_line import format_table
from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.tiers import tier_hash

CASE_COLUMNS = ("case_id", "participant_id", "site", "sex", "status", "dice", "sensitivity", "precision", "hd95_mm",
                "assd_mm", "contour_distance_mm", "surface_roughness_mm", "volume_ref_ml", "volume_pred_ml")
MEANS = ("dice", "hd95_mm", "assd_mm", "contour_distance_mm", "surface_roughness_mm")


def mean_rows(run: Run, cases: list[dict[str, str]], minutes: float) -> list[dict[str, object]]:
    """Return a row for each site and kind of mask: means over participants."""
    rows: list[dict[str, object]] = []
    for masks in MASKS:
        for site in ("tulane", "rochester"):
            own = [case for case in cases if case["masks"] == masks and case["site"] == site]
            means = site_means(run, masks, site)
            rows.append({"arm": run.arm, "tier": run.tier, "seed": run.seed, "masks": masks, "site": site,
                         "n_participants": len({case["participant_id"] for case in own}), "n_hips": len(own),
                         "n_missed": sum(case["status"] == "missed" for case in own),
                         **{metric: round(means[metric], 4) for metric in MEANS},
                         "epochs": run.size.epochs, "labelled_patches": run.size.labelled_patches,
                         "train_tulane": run.size.train_tulane, "train_rochester": run.size.train_rochester,
                         "anatomy": "label_maps" if run.label_maps else "analytic", "preset": run.size.preset,
                         "minutes": round(minutes, 1), "kit_version": KIT_VERSION, "tiers_sha256": tier_hash()[:12]})
    return rows


def add_rows(path: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> None:
    """Add rows to a CSV, with its header where it is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def is_done(path: Path, run: Run) -> bool:
    """Say whether a run's rows stand in the CSV, made with the same tiers and the same kit."""
    if not path.exists():
        return False
    anatomy = "label_maps" if run.label_maps else "analytic"
    with path.open(newline="", encoding="utf-8") as handle:
        return any((row["arm"], row["tier"], row["seed"], row["anatomy"], row["preset"], row["kit_version"],
                    row["tiers_sha256"])
                   == (run.arm, run.tier, str(run.seed), anatomy, run.size.preset, str(KIT_VERSION),
                       tier_hash()[:12])
                   for row in csv.DictReader(handle))


def do_run(run: Run, folder: Path) -> None:
    """Do one run and add its rows."""
    # Taken first: the tree may move on while a run lasts.
    started, made = time.monotonic(), provenance(os.environ.get("OMP_NUM_THREADS", "default"))
    trained = make_training_dataset(run)
    train(run, trained)
    minutes = (time.monotonic() - started) / 60
    predict_and_measure(run, make_cohort(run, run.tier, oracle=ARMS[run.arm].oracle), trained)
    cases = case_rows(run, CASE_COLUMNS)
    rows = mean_rows(run, cases, minutes)
    source = {"tiers_sha256": tier_hash()[:12], "kit_version": KIT_VERSION, "commit": made["commit"]}
    add_rows(folder / "site_gap_cases.csv", [{**case, **source} for case in cases])
    add_rows(folder / "site_gap.csv", [{**row, **made} for row in rows])
    print("\n".join(format_table(list(rows[0]), [list(row.values()) for row in rows])), flush=True)


def main() -> None:
    """Do the runs that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for cohorts, networks and masks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSVs (default: benchmarks/results)")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["source_only", "nnunet_aug", "grl_mmd_aug"])
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=["moderate"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--epochs", type=int, default=Size.epochs, help=f"of 20 steps each (default: {Size.epochs})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a processor)")
    parser.add_argument("--device", default="cpu", help="of training and prediction (default: cpu)")
    parser.add_argument("--preset", choices=("cpu", "gpu24", "gpu80"), default="cpu", help="preset of femur_plan")
    parser.add_argument("--label-maps", type=Path, help="render these label maps instead of analytic bones")
    parser.add_argument("--rendered-maps", type=Path, help="label maps for the arms renderings_only, renderings_added")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = Size(epochs=options.epochs, preset=options.preset)
    for seed in options.seeds:
        for tier in options.tiers:
            for arm in options.arms:
                run = Run(arm, tier, seed, size, options.work.resolve(), options.device, options.jobs,
                          *(folder.resolve() if folder else None
                            for folder in (options.label_maps, options.rendered_maps)))
                if is_done(options.out / "site_gap.csv", run):
                    print(f"{arm}, {tier}, seed {seed}: done before", flush=True)
                else:
                    do_run(run, options.out)


if __name__ == "__main__":
    main()
