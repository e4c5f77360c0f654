"""The template femur from four sides, coloured by the mean signed error of each site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from femur_nnunet.evaluation.report.error_surface import MeanErrors
from femur_nnunet.evaluation.report.figures.inline_svg import Picture, picture
from femur_nnunet.evaluation.report.figures.look import INK, SOFT, new_figure
from femur_nnunet.evaluation.report.template_femur import PIXEL_MM, VIEWS, View, template_femur
from femur_nnunet.evaluation.report.wording import counted, figure_text, site_title

# Blue and orange keep apart for every kind of colour vision; both grow darker with the size of the error.
COLOUR_MAP = LinearSegmentedColormap.from_list("error", ["#08306b", "#2f7fbc", "#a9cfe5", "#f7f7f7", "#fdc38d",
                                                         "#e0701c", "#7f2704"])
NOT_REACHED = np.array([0.72, 0.74, 0.77])
_LEAST_LIMIT_MM = 0.5


def colour_limit_mm(means: Sequence[MeanErrors]) -> float:
    """Return the end of the colour scale that all sites and arms share, in steps of 0.25 mm."""
    values = np.concatenate([np.abs(one.values_mm[np.isfinite(one.values_mm)]) for one in means])
    return max(_LEAST_LIMIT_MM, math.ceil(float(np.percentile(values, 99)) * 4) / 4) if values.size else _LEAST_LIMIT_MM


def draw_error_map(name: str, arm: str, means: Mapping[str, MeanErrors], limit_mm: float) -> Picture:
    """Return a row of four views for each site.

    Parameters
    ----------
    name, arm : str
        Id of the figure and the arm that it is about.
    means : mapping of str to MeanErrors
        By site, in the order of the report.
    limit_mm : float
        End of the colour scale.
    """
    def draw() -> Figure:
        figure = new_figure(2.45 * len(means) + 0.75, 8.0)
        widths = [_view(view).brightness.shape[1] for view in VIEWS]
        panels = figure.subplots(len(means), len(VIEWS), squeeze=False, width_ratios=widths)
        for number, (line, (site, mean)) in enumerate(zip(panels, means.items(), strict=True)):
            for axes, view in zip(line, VIEWS, strict=True):
                seen = _view(view)
                values = _values_seen(seen, mean.values_mm)
                rows, columns = values.shape
                extent = (0, columns * PIXEL_MM, 0, rows * PIXEL_MM)
                axes.imshow(_coloured(seen, values, limit_mm), extent=extent, interpolation="bilinear")
                _lines(axes, values, limit_mm, extent)
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                for spine in axes.spines.values():
                    spine.set_visible(False)
                if number == 0:
                    axes.set_title(view, fontsize=8.5, fontweight="normal", loc="center")
            line[0].set_ylabel(f"{site_title(site)}\n{counted(mean.participants, 'participant')}, "
                               f"{counted(mean.hips, 'hip')}", fontsize=8.5, color=INK)
        _scale_bar(panels[-1][0])
        bar = figure.colorbar(ScalarMappable(Normalize(-limit_mm, limit_mm), COLOUR_MAP), ax=panels, shrink=0.55,
                              orientation="horizontal", aspect=45, pad=0.01)
        bar.set_label("mean signed error (mm): \N{MINUS SIGN} prediction inside the reference, + outside")
        bar.outline.set_visible(False)
        return figure

    told = "; ".join(f"{site_title(site)}: from {_extreme(mean, np.nanmin)} to {_extreme(mean, np.nanmax)} mm, "
                     f"mean {_extreme(mean, np.nanmean)} mm" for site, mean in means.items())
    return picture(name, draw, alt=f"Mean signed surface error of {arm} on a template femur by site. {told}.",
                   caption=f"{arm}. Mean signed error at each place of the surface, left femur from four sides, one "
                           f"scale for all sites and arms. Lines of equal error, every {_line_step_mm(limit_mm):g} mm: "
                           "solid outside, dashed inside. Grey: fewer than half of the hips show this part.")


@lru_cache(maxsize=len(VIEWS))
def _view(name: str) -> View:
    return template_femur().view(name)


def _values_seen(view: View, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of the nearest vertices at every pixel of the bone."""
    template, known = template_femur(), np.isfinite(view.points_mm[..., 0])
    distance, nearest = cKDTree(template.vertices_mm).query(view.points_mm[known], k=6)
    weight = np.exp(-(distance / 1.6) ** 2) + 1e-9
    seen = np.full(known.shape, np.nan)
    seen[known] = (weight * values[nearest]).sum(axis=1) / weight.sum(axis=1)
    return seen


def _coloured(view: View, values: NDArray[np.float64], limit_mm: float) -> NDArray[np.float64]:
    colour = COLOUR_MAP(np.clip(0.5 + values / (2 * limit_mm), 0, 1))[..., :3]
    colour[~np.isfinite(values)] = NOT_REACHED
    # Shading tells the shape; it stays light so that the colours keep their meaning.
    colour = colour * (0.62 + 0.38 * view.brightness[..., None])
    return np.concatenate([colour, np.isfinite(view.points_mm[..., :1]).astype(float)], axis=-1)


def _lines(axes: object, values: NDArray[np.float64], limit_mm: float, extent: tuple[float, ...]) -> None:
    step = _line_step_mm(limit_mm)
    known = values[np.isfinite(values)]
    levels = [level for level in np.arange(-limit_mm, limit_mm + step / 2, step) if abs(level) > step / 2
              and known.size and known.min() < level < known.max()]
    if levels:
        axes.contour(values, levels=levels, colors=INK, linewidths=0.6,  # type: ignore[attr-defined]
                     linestyles=["--" if level < 0 else "-" for level in levels], extent=extent, origin="upper",
                     alpha=0.75)


def _line_step_mm(limit_mm: float) -> float:
    return 0.25 if limit_mm <= 1 else 0.5 if limit_mm <= 3 else 1.0


def _scale_bar(axes: object) -> None:
    axes.plot([4, 34], [3, 3], color=SOFT, linewidth=2, solid_capstyle="butt")  # type: ignore[attr-defined]
    axes.text(19, 5, "30 mm", ha="center", va="bottom", fontsize=7, color=SOFT)  # type: ignore[attr-defined]


def _extreme(mean: MeanErrors, of: object) -> str:
    known = mean.values_mm[np.isfinite(mean.values_mm)]
    return figure_text(float(of(known)), 2, signed=True) if known.size else "n/a"  # type: ignore[operator]
