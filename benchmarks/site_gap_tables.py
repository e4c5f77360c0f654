"""The tables of the site gap from its cases: means at both sites, paired differences, and the gap that each arm closes.

    python benchmarks/site_gap_tables.py --tier moderate --seeds 1 2 3

reads site_gap_cases.csv, prints tables in Markdown and writes site_gap_compare.csv and docs/images/site_gap.png. The
participant is the unit; cohorts of several seeds are different people and are put together. p is that of sign
permutations, adjusted by Holm over the pairs of one metric at one site (femur_eval --compare does the same).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench_support import RESULTS, short_provenance
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from site_gap_arms import ARMS, MASKS, TIERS

from femur_nnunet.cohort import MISSING
from femur_nnunet.errors import FemurError
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.case_table import CaseRow
from femur_nnunet.evaluation.compare_table import CompareRow, compare_arms
from femur_nnunet.evaluation.metric_catalogue import METRIC_NAMES
from femur_nnunet.evaluation.participants import participant_means, select
from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.tiers import tier_hash

SHOWN = {"dice": 4, "hd95_mm": 2, "assd_mm": 3, "contour_distance_mm": 3, "surface_roughness_mm": 3}
CLOSED = ("dice", "hd95_mm", "assd_mm")
BASES, ORACLE = ("source_only", "nnunet_aug"), "oracle"
SITES = ("tulane", "rochester")
PICTURE = RESULTS.parents[1] / "docs" / "images" / "site_gap.png"


def read_rows(path: Path, tier: str, seeds: Sequence[int], masks: str) -> list[CaseRow]:
    """Read one tier's hips of these seeds, made with the present kit and tiers.

    Raises
    ------
    FemurError
        There is none.
    """
    with path.open(newline="", encoding="utf-8") as handle:
        found = [row for row in csv.DictReader(handle)
                 if (row["tier"], row["masks"]) == (tier, masks) and int(row["seed"]) in seeds
                 and (row["kit_version"], row["tiers_sha256"]) == (str(KIT_VERSION), tier_hash()[:12])]
    if not found:
        raise FemurError(f"no hips of tier {tier}, seeds {', '.join(map(str, seeds))}",
                         expected="rows made with the present kit and tiers",
                         action="run benchmarks/site_gap.py", subject=path.name)
    return [CaseRow(arm=row["arm"], case_id=f"{row['seed']}_{row['case_id']}", status=CaseStatus(row["status"]),
                    # Two cohorts share no participant, whatever their ids.
                    participant_id=f"{row['seed']}_{row['participant_id']}", site=row["site"], sex=row["sex"],
                    metrics={name: math.nan if row.get(name, MISSING) in (MISSING, "") else float(row[name])
                             for name in METRIC_NAMES}) for row in found]


def site_table(rows: list[CaseRow]) -> list[list[str]]:
    """Return a line for each arm: participants' means at both sites, and missed hips."""
    table = [["arm", *(f"{name} {site}" for name in SHOWN for site in SITES), "participants", "missed"]]
    for arm in [name for name in ARMS if any(row.arm == name for row in rows)]:
        own = [row for row in rows if row.arm == arm]
        table.append([arm, *(_mean(select(own, site=site), name) for name in SHOWN for site in SITES),
                      str(len({row.participant_id for row in own})),
                      str(sum(row.status is CaseStatus.MISSED for row in own))])
    return table


def _mean(rows: list[CaseRow], metric: str) -> str:
    values = list(participant_means(rows, metric).values())
    return f"{np.mean(values):.{SHOWN[metric]}f}" if values else MISSING


def compare_lines(compared: list[CompareRow]) -> list[list[str]]:
    """Return a line for each base, arm and metric at the target site."""
    table = [["base", "arm", "metric", "difference (95 % interval)", "p, Holm", "gap closed (95 % interval)"]]
    for row in compared:
        if row.site == SITES[1] and row.metric in CLOSED and row.arm_a in BASES:
            closed = "no gap" if math.isnan(row.gap_closed) else (
                f"{row.gap_closed:.0%} ({row.gap_closed_ci95_low:.0%} to {row.gap_closed_ci95_high:.0%})")
            table.append([row.arm_a, row.arm_b, row.metric,
                          f"{row.difference:+.4f} ({row.ci95_low:+.4f} to {row.ci95_high:+.4f})",
                          f"{row.p_holm:.3f}", closed])
    return table


def draw(rows: list[CaseRow], path: Path, title: str) -> None:
    """Draw every participant's Dice and ASSD at the target site, an arm a line, with the mean."""
    arms = [name for name in ARMS if any(row.arm == name for row in rows)][::-1]
    figure = Figure(figsize=(11, 0.45 * len(arms) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, label) in zip(figure.subplots(1, 2, sharey=True),
                                     (("dice", "Dice"), ("assd_mm", "ASSD (mm)")), strict=True):
        for height, arm in enumerate(arms):
            values = np.asarray(list(participant_means(
                select([row for row in rows if row.arm == arm], site=SITES[1]), metric).values()))
            spread = np.linspace(-0.25, 0.25, values.size)
            axes.plot(values, height + spread, ".", color="#8a94a6", markersize=4)
            axes.plot([values.mean()] * 2, [height - 0.35, height + 0.35], color="#c2410c", linewidth=2)
        axes.set_xlabel(f"{label} at Rochester, a point a participant, line: mean")
        axes.grid(axis="x", color="#e5e7eb")
    figure.axes[0].set_yticks(range(len(arms)), arms)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def markdown(table: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def main() -> None:
    """Print the tables and write CSV and picture."""
    parser = argparse.ArgumentParser(description="Tables of the site gap from its cases.")
    parser.add_argument("--tier", choices=TIERS, default="moderate", help="tier (default: moderate)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="cohorts (default: 1 2 3)")
    parser.add_argument("--masks", choices=MASKS, default=MASKS[0], help="masks (default: as the network leaves them)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    parser.add_argument("--cases", type=Path, default=RESULTS / "site_gap_cases.csv", help="table of all hips")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="PNG to write")
    options = parser.parse_args()
    rows = read_rows(options.cases, options.tier, options.seeds, options.masks)
    compared = compare_arms(rows, bases=BASES, oracle=ORACLE, resamples=options.resamples, seed=0)
    about: dict[str, Any] = {"tier": options.tier, "masks": options.masks, "seeds": " ".join(map(str, options.seeds))}
    print(markdown(site_table(rows)), markdown(compare_lines(compared)), sep="\n\n")
    draw(rows, options.picture, f"Tier {options.tier}, seeds {about['seeds']}")
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [{**about, **asdict(row), "tiers_sha256": tier_hash()[:12], **short_provenance()} for row in compared
             if row.metric in SHOWN]
    if lines:
        with (options.out / "site_gap_compare.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
