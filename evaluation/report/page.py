"""report.html: every section from the tables of a result folder, pictures from the masks where they are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from femur_nnunet._version import __version__
from femur_nnunet.command_line import get_logger, worker_count
from femur_nnunet.evaluation.density.density_row import DENSITY_NAME, DensityRow
from femur_nnunet.evaluation.density.density_status import DENSITY_RULES, DensityStatus
from femur_nnunet.evaluation.report.error_surface import MappedCase, map_cases, mean_errors
from femur_nnunet.evaluation.report.figures.agreement import draw_agreement
from femur_nnunet.evaluation.report.figures.cumulative import draw_cumulative
from femur_nnunet.evaluation.report.figures.distributions import draw_distributions
from femur_nnunet.evaluation.report.figures.error_map import colour_limit_mm, draw_error_map
from femur_nnunet.evaluation.report.figures.inline_svg import Picture
from femur_nnunet.evaluation.report.figures.intervals import draw_comparison, draw_gap
from femur_nnunet.evaluation.report.figures.look import Look
from femur_nnunet.evaluation.report.figures.texture import EXCELLENT, GOOD, draw_texture
from femur_nnunet.evaluation.report.figures.training import draw_adaptation, draw_probe
from femur_nnunet.evaluation.report.gallery import GalleryCase, make_gallery
from femur_nnunet.evaluation.report.measured_pairs import (
    agreement_table,
    density_pairs,
    density_units,
    shown_density,
    texture_rows,
    volume_pairs,
)
from femur_nnunet.evaluation.report.methods_text import methods_paragraphs
from femur_nnunet.evaluation.report.picture_sources import PictureSources, sources_of_run
from femur_nnunet.evaluation.report.provenance_lines import provenance_lines
from femur_nnunet.evaluation.report.result_tables import ResultTables, read_result
from femur_nnunet.evaluation.report.site_lines import agreement_lines, metric_headings, site_lines
from femur_nnunet.evaluation.report.summary_sentences import arm_sentences, base_arms, comparison_sentences
from femur_nnunet.evaluation.report.training_logs import read_training_logs
from femur_nnunet.evaluation.report.wording import (
    counted,
    figure_text,
    quantity_title,
    site_title,
    unbroken,
)
from femur_nnunet.files import write_text
from femur_nnunet.html_report.rendering import render

REPORT_NAME = "report.html"
_log = get_logger(__name__)


@dataclass(frozen=True)
class ReportOptions:
    """What goes into a report beside the tables.

    Attributes
    ----------
    sources : PictureSources
        Folders of masks and scans; what is not named here is taken from run.json.
    training : sequence of Path
        Folders of trained folds or arms, and of site probes.
    jobs : int
        Worker processes; 0 means one for each processor.
    quiet : bool
        No progress bar.
    """

    sources: PictureSources = field(default_factory=PictureSources)
    training: Sequence[Path] = ()
    jobs: int = 1
    quiet: bool = False


@dataclass
class Section:
    """One section of the page: what is not there is said in ``notes``."""

    ident: str
    title: str
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def write_report(folder: Path, options: ReportOptions) -> Path:
    """Write report.html into a result folder, readable by its owner alone since it may show patients.

    Raises
    ------
    UsageError
        The folder holds no result, or a folder of ``training`` is not there.
    FemurError
        A table is broken.
    """
    tables = read_result(folder)
    logs = read_training_logs(options.training)
    asked = options.sources.or_else(sources_of_run(folder, tables.run))
    sources = asked.present()
    look = Look(tables.site_names, tables.arms)
    path = folder / REPORT_NAME
    write_text(path, render(
        "report.html", version=__version__, tables=tables, look=look, site_title=site_title,
        summary=_summary(tables), metric_headings=metric_headings(), site_lines=site_lines(tables),
        sex_lines=site_lines(tables, ("F", "M")), failures=_failures(tables),
        distances=_distances(tables, look), volume=_volume(tables, look), density=_density(tables, look),
        texture=_texture(tables, look), surface=_surface(tables, sources, options),
        gallery=_gallery(tables, sources), training=_training(options, logs),
        methods=methods_paragraphs(tables, options.training), provenance=provenance_lines(tables)))
    path.chmod(0o600)
    return path


def _summary(tables: ResultTables) -> list[tuple[str, list[str]]]:
    parts = [(arm, arm_sentences(tables, arm)) for arm in tables.arms]
    parts += [(f"against {base}", comparison_sentences(tables, base)) for base in base_arms(tables.comparison)]
    return [(title, [unbroken(sentence) for sentence in sentences]) for title, sentences in parts]


def _failures(tables: ResultTables) -> list[tuple[str, ...]]:
    return [(row.arm, row.case_id, row.status.value.replace("_", " "), row.detail or "") for row in tables.rows
            if row.rule.is_failure]


def _distances(tables: ResultTables, look: Look) -> dict[str, Section]:
    spread = Section("distributions", "Distributions")
    curves = Section("cumulative", "Cumulative HD95")
    gap = Section("gap", "Gap between sites")
    arms = Section("arms", "Arms compared")
    if tables.judged and tables.site_names:
        spread.pictures.append(draw_distributions(tables.judged, look))
        curves.pictures.append(draw_cumulative(tables.judged, look))
    else:
        spread.notes.append("no case could be judged")
        curves.notes.append("no case could be judged")
    drawn = draw_gap(tables.gaps, look)
    if drawn is None:
        gap.notes.append("not measured: it needs judged cases of a source site (one with labelled training rows in "
                         "scans.tsv, or --source-site) and of another site")
    else:
        gap.pictures.append(drawn)
    for base in base_arms(tables.comparison):
        arms.pictures += [one for site in (*tables.site_names, "all")
                          if (one := draw_comparison(tables.comparison, base, site, look))]
    if not arms.pictures:
        arms.notes.append("one arm was evaluated; --compare ARM=DIR ... sets several side by side")
    return {"spread": spread, "curves": curves, "gap": gap, "arms": arms}


def _volume(tables: ResultTables, look: Look) -> dict[str, Any]:
    pairs = volume_pairs(tables)
    section = Section("volume", "Agreement of volume")
    table = agreement_table(tables, "volume_ml")
    section.pictures += [one for arm in tables.arms if (one := draw_agreement(
        f"volume-{tables.arms.index(arm) + 1}", "Volume", "ml", pairs, table, look, arms=[arm]))]
    if not section.pictures:
        section.notes.append("no hip has both volumes")
    quantities = [("volume_ml", "total", "ml"), ("volume_ml_fair", "total", "ml")]
    fair = volume_pairs(tables, "_fair")
    return {"section": section, "lines": agreement_lines(tables, quantities, [pairs, fair])}


def _density(tables: ResultTables, look: Look) -> dict[str, Any]:
    section = Section("density", "Density")
    if tables.density is None:
        section.notes.append("not measured (give --images)")
        return {"section": section, "lines": []}
    shown = shown_density(tables)
    if not shown:
        section.notes.append("density.csv is there, but no hip has a density on both masks")
    units = density_units(tables)
    if len(units) > 1:
        section.notes.append(f"{' and '.join(units)} are unlike units: agreement is given within each alone.")
    pairs = [density_pairs(tables, *key) for key in shown]
    for (quantity, region, unit), own in zip(shown, pairs, strict=True):
        # Not every unit may stand in an id.
        name = "-".join([quantity, region.value, *re.findall(r"\w+", unit)]).replace("_", "-")
        drawn = draw_agreement(name, quantity_title(quantity, region.value), unit, own,
                               agreement_table(tables, quantity, region, unit), look, arms=tables.arms)
        if drawn is not None:
            section.pictures.append(drawn)
    section.notes += _density_notes(tables.density)
    return {"section": section, "lines": agreement_lines(tables, shown, pairs)}


def _density_notes(rows: Sequence[DensityRow]) -> list[str]:
    """Return in how many hips the density of some region is doubtful or missing, and why."""
    hips: dict[DensityStatus, set[tuple[str | None, ...]]] = {}
    for row in rows:
        if row.status is not DensityStatus.OK:
            hips.setdefault(row.status, set()).add((row.case_id, row.side))
    told = [f"{counted(len(hips[status]), 'hip')}: {DENSITY_RULES[status].meaning}" for status in DensityStatus
            if status in hips]
    ends = f"Every row's status stands in {DENSITY_NAME}; docs/density.md tells which enter agreement."
    return [f"In some region, {'; '.join(told)}. {ends}"] if told else []


def _texture(tables: ResultTables, look: Look) -> dict[str, Any]:
    section = Section("texture", "Texture")
    found = {(arm, site): texture_rows(tables.agreement, arm, site) for arm in tables.arms
             for site in tables.site_names}
    if not tables.texture_measured:
        section.notes.append("not measured (give --images and --texture)")
        return {"section": section, "lines": []}
    lines = []
    for (arm, site), rows in found.items():
        values = [row.estimates["icc_2_1"].value for row in rows if row.estimates["icc_2_1"].value ==
                  row.estimates["icc_2_1"].value]
        if values:
            lines.append((arm, site_title(site), max(row.n for row in rows), len(values),
                          sum(value >= EXCELLENT for value in values),
                          sum(GOOD <= value < EXCELLENT for value in values), sum(value < GOOD for value in values)))
    if lines:
        section.pictures.append(draw_texture(found, look))
    else:
        section.notes.append("too few hips with both masks for an agreement of features; values stand in radiomics.csv")
    return {"section": section, "lines": lines}


def _surface(tables: ResultTables, sources: PictureSources, options: ReportOptions) -> Section:
    section = Section("surface", "Where on the bone")
    lacking = _lacking(tables, sources)
    if lacking:
        section.notes.append(lacking)
        return section
    cases = map_cases(tables.judged, sources, workers=worker_count(options.jobs), quiet=options.quiet)
    means = {arm: {site: mean for site in tables.site_names if (mean := mean_errors(cases, arm, site))}
             for arm in tables.arms}
    every = [mean for own in means.values() for mean in own.values()]
    if every:
        limit_mm = colour_limit_mm(every)
        section.pictures += [draw_error_map(f"surface-{number}", arm, own, limit_mm)
                             for number, (arm, own) in enumerate(means.items(), start=1) if own]
    section.notes += _mapping_notes(cases)
    return section


def _mapping_notes(cases: Sequence[MappedCase]) -> list[str]:
    left_out: dict[str, int] = {}
    for case in cases:
        if case.reason:
            left_out[case.reason] = left_out.get(case.reason, 0) + 1
    fits = sorted(case.residual_mm for case in cases if case.residual_mm == case.residual_mm)
    notes = [f"{counted(number, 'hip')} not mapped: {reason}." for reason, number in sorted(left_out.items())]
    if fits:
        notes.insert(0, f"Fit of the template: the border lies {figure_text(fits[len(fits) // 2], 1)} mm (median hip), "
                        f"at most {figure_text(fits[-1], 1)} mm away from it; places are blurred by about as much.")
    return notes


def _gallery(tables: ResultTables, sources: PictureSources) -> dict[str, Any]:
    section = Section("gallery", "Worst cases first")
    lacking = _lacking(tables, sources)
    cases: list[GalleryCase] = []
    if lacking:
        section.notes.append(lacking)
    else:
        cases = make_gallery(tables.judged, tables.arms, sources)
        if sources.images is None:
            section.notes.append("Masks alone: give --images for the scans behind them.")
    return {"section": section, "cases": cases}


def _lacking(tables: ResultTables, sources: PictureSources) -> str:
    """Return why there can be no picture of masks, "" where there can."""
    if not tables.judged:
        return "no case could be judged"
    if sources.references is None:
        return "left out: the folder of references is not where run.json says (name it again with --report-only)"
    if not sources.predictions:
        return "left out: no folder of predictions is where run.json says (name it again with --report-only)"
    return ""


def _training(options: ReportOptions, logs: Any) -> Section:
    section = Section("training", "Training and site probe")
    section.pictures += [draw_adaptation(f"adaptation-{number}", log)
                         for number, log in enumerate(logs.adaptation, start=1)]
    if logs.probe:
        section.pictures.append(draw_probe(logs.probe))
    if not section.pictures:
        section.notes.append("no adaptation.csv or probe.csv below the folders of --training" if options.training
                             else "no log given (name a trained fold, arm or probe folder with --training)")
    return section
