"""Agreement of texture features between predicted and reference masks, a point a feature."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from femur_nnunet.evaluation.agreement import AgreementRow
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, SOFT, Look, new_figure
from femur_nnunet.evaluation.report.wording import site_title

# Koo and Li 2016: good from 0.75, excellent from 0.9.
GOOD, EXCELLENT = 0.75, 0.9
_STATISTICS = (("icc_2_1", "ICC(2,1)"), ("pearson_r", "Pearson's r"))


def draw_texture(found: Mapping[tuple[str, str], Sequence[AgreementRow]], look: Look) -> Picture:
    """Return ICC and Pearson's r of every feature by arm and site."""
    keys = [key for key, rows in found.items() if rows]

    def draw() -> Figure:
        figure = new_figure(0.9 + 0.55 * len(keys))
        panels = figure.subplots(1, 2, sharey=True)
        for number, (axes, (name, title)) in enumerate(zip(panels, _STATISTICS, strict=True)):
            for place, (arm, site) in enumerate(keys):
                values = _values(found[arm, site], name)
                scatter = np.random.default_rng(zlib.crc32(f"{arm} {site}".encode())).uniform(-0.22, 0.22, values.size)
                axes.scatter(np.clip(values, -0.05, 1), place + scatter, s=13, alpha=0.7, linewidths=0.3,
                             edgecolors="white", **look.site(site))
                if values.size:
                    axes.plot([np.median(values)] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=1.8)
            for line in (GOOD, EXCELLENT) if name.startswith("icc") else ():
                axes.axvline(line, color=SOFT, linestyle="--", linewidth=0.9)
            axes.set(title=title, xlim=(-0.07, 1.03), ylim=(len(keys) - 0.4, -0.6), xlabel=f"{title} (no unit)")
            axes.grid(visible=False, axis="y")
            if number == 0:
                several = len(look.arms) > 1
                axes.set_yticks(range(len(keys)), [f"{arm}, {site_title(site)}" if several else site_title(site)
                                                   for arm, site in keys])
        return figure

    told = "; ".join(f"{arm}, {site_title(site)}: median ICC {np.median(_values(found[arm, site], 'icc_2_1')):.2f}"
                     for arm, site in keys if _values(found[arm, site], "icc_2_1").size)
    return picture("texture", draw, alt=f"Agreement of texture features. {told}.",
                   caption="One point a feature; bar: median. Dashed: 0.75 (good) and 0.9 (excellent; Koo and Li "
                           "2016). Values below 0 are drawn at the left edge. ICC counts a bias, Pearson's r does not.")


def _values(rows: Sequence[AgreementRow], name: str) -> np.ndarray:
    values = np.array([row.estimates[name].value for row in rows], dtype=float)
    return values[np.isfinite(values)]
