"""The tables of the site gap from its cases: means at both sites, paired differences, and the gap that each arm closes.

    python benchmarks/site_gap_tables.py --seeds 1 2 3

reads site_gap_cases.csv and site_gap_probe.csv, prints tables in Markdown and writes site_gap_compare.csv and
docs/images/site_gap.png, of every cohort that has rows. The participant is the unit; cohorts of several seeds are
different people and are put together. (Those of label maps are warped copies of the same few maps: their intervals and
p are too small for people.) p is that of sign permutations, adjusted by Holm over the pairs of one metric at one site
(femur_eval --compare does the same).
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bench_support import RESULTS, short_provenance
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from site_gap_arms import ANATOMIES, ARMS, MASKS, TIERS

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


@dataclass(frozen=True)
class Cohort:
    """Which rows belong together."""

    tier: str
    seeds: tuple[int, ...]
    masks: str = MASKS[0]
    anatomy: str = "analytic"
    preset: str = "cpu"

    def holds(self, row: dict[str, str]) -> bool:
        """Say whether a row of the present kit and tiers is of this cohort."""
        return (row["tier"] == self.tier and int(row["seed"]) in self.seeds
                and row.get("masks", self.masks) == self.masks
                and (row["anatomy"], row["preset"]) == (self.anatomy, self.preset))


def present_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that were made with the present kit and tiers."""
    present = str(KIT_VERSION), tier_hash()[:12]
    with path.open(newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if (row["kit_version"], row["tiers_sha256"]) == present]


def measured_cohorts(path: Path, seeds: tuple[int, ...], preset: str) -> list[tuple[str, str]]:
    """Return tier and anatomy of all that has rows, analytic bones first.

    Raises
    ------
    FemurError
        Nothing has.
    """
    rows = present_rows(path)
    found = [(tier, anatomy) for anatomy in ANATOMIES for tier in TIERS
             if any(Cohort(tier, seeds, masks, anatomy, preset).holds(row) for row in rows for masks in MASKS)]
    if not found:
        raise FemurError(f"no hips of seeds {_listed(seeds)}, preset {preset}",
                         expected="rows made with the present kit and tiers",
                         action="run benchmarks/site_gap.py", subject=path.name)
    return found


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))


def read_rows(path: Path, cohort: Cohort) -> list[CaseRow]:
    """Read a cohort's hips.

    Raises
    ------
    FemurError
        Arms took other numbers of steps, or one arm's networks had other settings.
    """
    found = [row for row in present_rows(path) if cohort.holds(row)]
    for arm in {row["arm"] for row in found}:
        settings = {row["settings_sha256"] for row in found if row["arm"] == arm}
        if len(settings) > 1:
            raise FemurError(f"{arm} with the settings {' and '.join(sorted(settings))}", expected="one setting an arm",
                             action="keep the rows of one of them", subject=path.name)
    if len({row["steps"] for row in found}) > 1:
        raise FemurError(f"arms of {', '.join(sorted({row['steps'] for row in found}))} steps", expected="equal steps",
                         action="keep the rows of one number", subject=path.name)
    return [CaseRow(arm=row["arm"], case_id=f"{row['seed']}_{row['case_id']}", status=CaseStatus(row["status"]),
                    # Two cohorts share no participant, whatever their ids.
                    participant_id=f"{row['seed']}_{row['participant_id']}", site=row["site"], sex=row["sex"],
                    metrics={name: math.nan if row.get(name, MISSING) in (MISSING, "") else float(row[name])
                             for name in METRIC_NAMES}) for row in found]


def probe_table(path: Path, cohort: Cohort) -> list[list[str]]:
    """Return a line for each arm: mean accuracy of the site probe over the cohorts, and p of MMD in each."""
    table = [["arm", "site probe, mean accuracy", "chance", "p of MMD, each cohort"]]
    if not path.exists():
        return table
    rows = [row for row in present_rows(path) if cohort.holds(row)]
    for arm in [name for name in ARMS if any(row["arm"] == name for row in rows)]:
        own = [row for row in rows if row["arm"] == arm]
        table.append([arm, f"{np.mean([float(row['accuracy']) for row in own]):.3f}", own[0]["chance"],
                      ", ".join(f"{float(row['p_value']):.4f}" for row in own)])
    return table


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


def draw(of_cohort: dict[str, list[CaseRow]], path: Path, title: str) -> None:
    """Draw every participant's Dice and ASSD at the target site, an arm a line, with the mean."""
    arms = {cohort: [name for name in ARMS if any(row.arm == name for row in rows)][::-1]
            for cohort, rows in of_cohort.items()}
    heights = [0.45 * len(names) + 0.9 for names in arms.values()]
    figure = Figure(figsize=(11, sum(heights) + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(arms), 2, sharey="row", squeeze=False, height_ratios=heights)
    for pair, (cohort, rows) in zip(panels, of_cohort.items(), strict=True):
        for axes, (metric, label) in zip(pair, (("dice", "Dice"), ("assd_mm", "ASSD (mm)")), strict=True):
            for height, arm in enumerate(arms[cohort]):
                values = np.asarray(list(participant_means(
                    select([row for row in rows if row.arm == arm], site=SITES[1]), metric).values()))
                spread = np.linspace(-0.25, 0.25, values.size)
                axes.plot(values, height + spread, ".", color="#8a94a6", markersize=4)
                axes.plot([values.mean()] * 2, [height - 0.35, height + 0.35], color="#c2410c", linewidth=2)
            axes.set_xlabel(f"{label} at Rochester, {cohort}: a point a participant, line: mean")
            axes.grid(axis="x", color="#e5e7eb")
        pair[0].set_yticks(range(len(arms[cohort])), arms[cohort])
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
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="cohorts (default: 1 2 3)")
    parser.add_argument("--preset", default="cpu", help="preset of the networks (default: cpu)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    parser.add_argument("--cases", type=Path, default=RESULTS / "site_gap_cases.csv", help="table of all hips")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="PNG to write")
    options = parser.parse_args()
    seeds, lines, drawn = tuple(options.seeds), [], {}
    for tier, anatomy in measured_cohorts(options.cases, seeds, options.preset):
        name = f"tier {tier}" + (", bones of label maps" if anatomy != Cohort.anatomy else "")
        for masks in MASKS:
            cohort = Cohort(tier, seeds, masks, anatomy, options.preset)
            rows = read_rows(options.cases, cohort)
            drawn.setdefault(name, rows)
            compared = compare_arms(rows, bases=BASES, oracle=ORACLE, resamples=options.resamples, seed=0)
            print(f"{name}, masks {masks}, seeds {_listed(seeds)}", markdown(site_table(rows)),
                  markdown(compare_lines(compared)), sep="\n\n", end="\n\n")
            about = {**asdict(cohort), "seeds": _listed(seeds)}
            lines += [{**about, **asdict(row), "tiers_sha256": tier_hash()[:12], **short_provenance()}
                      for row in compared if row.metric in SHOWN]
        print(markdown(probe_table(options.cases.with_name("site_gap_probe.csv"), cohort)), end="\n\n")
    draw(drawn, options.picture, f"Seeds {_listed(seeds)}, masks as the networks leave them")
    options.out.mkdir(parents=True, exist_ok=True)
    if lines:
        with (options.out / "site_gap_compare.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
