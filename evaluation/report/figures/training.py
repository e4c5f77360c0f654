"""Curves of a training's adaptation, and what the site probe found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from femur_nnunet.adaptation.adaptation_plot import PANELS
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import COLOURS, INK, LINES, MARKERS, SOFT, new_figure
from femur_nnunet.evaluation.report.training_logs import AdaptationLog, ProbeLine
from femur_nnunet.evaluation.report.wording import figure_text, interval_text

_AXES = {"losses, without weights": "loss (no unit)", "weights and lambda": "weight (no unit)",
         "site classifier's accuracy": "accuracy (fraction)",
         "gradient norms at the encoder, weighted": "norm (no unit)",
         "choice of the checkpoint": "score (fraction)"}


def draw_adaptation(name: str, log: AdaptationLog) -> Picture:
    """Return the curves of one fold over its epochs."""
    panels = [(title, [column for column in columns if np.isfinite(log.curves.get(column, [])).any()], logarithmic)
              for title, columns, logarithmic in PANELS]
    panels = [panel for panel in panels if panel[1]]

    def draw() -> Figure:
        columns = min(2, max(len(panels), 1))
        lines = -(-max(len(panels), 1) // columns)
        figure = new_figure(2.3 * lines + 0.2)
        places = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in places[len(panels):]:
            axes.set_visible(False)
        for axes, (title, shown, logarithmic) in zip(places, panels, strict=False):
            for number, column in enumerate(shown):
                values = np.asarray(log.curves[column])
                axes.plot(np.arange(values.size), values, color=COLOURS[number], linestyle=LINES[number],
                          marker=MARKERS[number], markersize=3.5, markevery=max(1, values.size // 8), linewidth=1.3,
                          label=column.replace("_", " "))
            if "site_accuracy" in shown:
                axes.set_ylim(-0.02, 1.02)
                if math.isfinite(log.chance):
                    axes.axhline(log.chance, color=INK, linewidth=0.9, linestyle=":", label="chance")
            if logarithmic:
                axes.set_yscale("log", nonpositive="mask")
            axes.set(title=title, xlabel="epoch", ylabel=_AXES.get(title, ""))
            axes.legend(loc="best", fontsize=7)
        return figure

    epochs = len(log.curves.get("epoch", []))
    return picture(name, draw, alt=f"Adaptation curves of {log.name} over {epochs} epochs: "
                                   f"{', '.join(title for title, _, _ in panels)}.",
                   caption=f"{log.name}, {epochs} epochs." + (f" Verdict: {log.verdict}." if log.verdict else "")
                           + (f" {log.reasons}." if log.reasons else ""))


def draw_probe(lines: Sequence[ProbeLine]) -> Picture:
    """Return the probe's accuracy with its interval, a line an arm and layer."""
    def draw() -> Figure:
        figure = new_figure(1.2 + 0.3 * len(lines), 6.5)
        axes = figure.subplots()
        for place, line in enumerate(lines):
            axes.plot([line.ci95_low, line.ci95_high], [place, place], color=COLOURS[0], linewidth=2.2)
            axes.plot(line.accuracy, place, marker="o", color=COLOURS[0], markersize=6.5, markeredgecolor="white")
        for chance in sorted({line.chance for line in lines}):
            axes.axvline(chance, color=SOFT, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(lines)), [f"{line.arm}, {line.layer}" for line in lines])
        axes.set(xlim=(0, 1.02), ylim=(len(lines) - 0.4, -0.6), title="Can the site be told from frozen features?",
                 xlabel="accuracy of the linear site probe (fraction); dashed: chance")
        axes.grid(visible=False, axis="y")
        return figure

    told = "; ".join(f"{line.arm}, {line.layer}: {figure_text(line.accuracy, 2)} "
                     f"({interval_text(line.ci95_low, line.ci95_high, 2)})" for line in lines)
    return picture("probe", draw, alt=f"Accuracy of the site probe. {told}.",
                   caption="Logistic regression on frozen features, whole participants held out; bars are Wilson's "
                           "95 % intervals over participants. Near chance the site cannot be told by this means.")
