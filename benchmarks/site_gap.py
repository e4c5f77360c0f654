"""What a shift between sites costs, and what each arm wins back, on the synthetic two-site cohort.

    python benchmarks/site_gap.py --work DIR --arms source_only nnunet_aug grl_mmd_aug --tiers moderate --seeds 1 2 3

Tulane is labelled, Rochester is not; both are evaluated on scans that no arm has seen. All arms take the same number of
steps with the same number of labelled patches. Rows are added to site_gap.csv (means over participants),
site_gap_cases.csv (every hip) and site_gap_probe.csv (what the network knows of the site) as each run ends, and a run
whose rows are there is not done again. Dice is given for the masks as the network leaves them, and for their largest
component. Seeds 1 to 19 are for results, 100 to 199 for tuning. On a GPU: --gpu, for everything.
"""

from __future__ import annotations

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

from bench_support import RESULTS, provenance
from site_gap_arms import ARMS, CPU, GPU, MASKS, TIERS, Run
from site_gap_datasets import make_cohort, make_training_dataset
from site_gap_runs import case_rows, predict_and_measure, probe_row, site_means, train, training_minutes

from femur_nnunet.argument_types import positive_count
from femur_nnunet.command_line import format_table
from femur_nnunet.errors import FemurError
from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.tiers import tier_hash

CASE_COLUMNS = ("case_id", "participant_id", "site", "sex", "status", "dice", "sensitivity", "precision", "hd95_mm",
                "assd_mm", "contour_distance_mm", "surface_roughness_mm", "volume_ref_ml", "volume_pred_ml")
MEANS = ("dice", "hd95_mm", "assd_mm", "contour_distance_mm", "surface_roughness_mm")
PROBED = ("n_participants", "accuracy", "ci95_low", "ci95_high", "chance", "mmd2", "p_value", "checkpoint")
# What makes a run another one; its rows are found again by them.
KEYS = ("arm", "tier", "seed", "anatomy", "preset", "settings_sha256", "kit_version", "tiers_sha256")


def keys(run: Run) -> dict[str, object]:
    """Return the columns by which the rows of a run are known."""
    values = (run.arm, run.tier, run.seed, run.anatomy, run.size.preset, run.settings_sha256, KIT_VERSION,
              tier_hash()[:12])
    return dict(zip(KEYS, values, strict=True))


def mean_rows(run: Run, cases: list[dict[str, object]]) -> list[dict[str, object]]:
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
                         "anatomy": run.anatomy, "preset": run.size.preset,
                         "minutes": round(training_minutes(run), 1), "kit_version": KIT_VERSION,
                         "tiers_sha256": tier_hash()[:12], "settings_sha256": run.settings_sha256,
                         "steps": run.size.steps})
    return rows


def add_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Add rows to a CSV, with its header where it is new.

    Raises
    ------
    FemurError
        The file has other columns.
    """
    new = not path.exists()
    if not new:
        with path.open(newline="", encoding="utf-8") as handle:
            found = next(csv.reader(handle), [])
        if found != list(rows[0]):
            raise FemurError(f"columns {', '.join(found)}", expected=", ".join(rows[0]),
                             action="give another folder with --out", subject=path.name)
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def is_done(path: Path, run: Run) -> bool:
    """Say whether a run's rows stand in the CSV: same arm with the same settings, cohort, tiers and kit."""
    if not path.exists():
        return False
    wanted = {name: str(value) for name, value in keys(run).items()}
    with path.open(newline="", encoding="utf-8") as handle:
        return any(wanted.items() <= row.items() for row in csv.DictReader(handle))


def do_run(run: Run, folder: Path) -> None:
    """Do one run and add its rows."""
    # Taken first: the tree may move on while a run lasts.
    made = provenance(os.environ.get("OMP_NUM_THREADS", "default"))
    trained = make_training_dataset(run)
    train(run, trained)
    predict_and_measure(run, make_cohort(run, run.tier, oracle=ARMS[run.arm].oracle), trained)
    cases = case_rows(run, CASE_COLUMNS)
    rows = mean_rows(run, cases)
    known, probed = keys(run), probe_row(run)
    add_rows(folder / "site_gap_probe.csv", [{**known, **{name: probed[name] for name in PROBED}, **made}])
    add_rows(folder / "site_gap_cases.csv",
             [{**case, **known, "steps": run.size.steps, "commit": made["commit"]} for case in cases])
    # Last: a run is done once its row is here.
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
    parser.add_argument("--epochs", type=positive_count, help="of a training (default: 15)")
    parser.add_argument("--jobs", type=positive_count, default=os.cpu_count() or 1,
                        help="processes (default: one a processor)")
    parser.add_argument("--gpu", action="store_true", help="full size on a GPU, in place of the small one on a CPU")
    parser.add_argument("--label-maps", type=Path, help="render these label maps instead of analytic bones")
    parser.add_argument("--rendered-maps", type=Path, help="label maps for the arms renderings_only, renderings_added")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = GPU if options.gpu else CPU
    size = replace(size, epochs=options.epochs or size.epochs)
    maps, rendered = (folder.resolve() if folder else None for folder in (options.label_maps, options.rendered_maps))
    for seed in options.seeds:
        for tier in options.tiers:
            for arm in options.arms:
                run = Run(arm, tier, seed, size, options.work.resolve(), "cuda" if options.gpu else "cpu",
                          options.jobs, maps, rendered)
                if is_done(options.out / "site_gap.csv", run):
                    print(f"{arm}, {tier}, seed {seed}: done before", flush=True)
                else:
                    do_run(run, options.out)


if __name__ == "__main__":
    main()
