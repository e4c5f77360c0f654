"""The two-dimensional picture: principal components of features, colour for site, scans of a person linked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from femur_nnunet.files import atomic_path
from femur_nnunet.site_probe.statistics import ProbeFeatures

# Okabe and Ito (2008): told apart with colour-blind eyes too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def first_two_components(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return the first two principal components (n, 2) of standardised features, and their shares of the variance."""
    spread = values.std(0)
    standard = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    left, singular, _ = np.linalg.svd(standard, full_matrices=False)
    scores, total = np.zeros((len(values), 2)), float((singular**2).sum()) or 1.0
    kept = min(2, len(singular))
    scores[:, :kept] = left[:, :kept] * singular[:kept]
    shares = [float(value) ** 2 / total for value in singular[:2]]
    return scores, (shares[0], shares[1] if kept > 1 else 0.0)


def draw_picture(path: Path, panels: Mapping[str, ProbeFeatures]) -> None:
    """Write a PNG with one panel each; the panels' titles are the mapping's keys."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    sites = sorted({str(site) for features in panels.values() for site in features.sites})
    for number, (title, features) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        scores, shares = first_two_components(features.values)
        for person in np.unique(features.participants):
            own = scores[features.participants == person]
            axes.plot(own[:, 0], own[:, 1], color="0.75", linewidth=0.8, zorder=1)
        for index, site in enumerate(sites):
            own = scores[features.sites == site]
            axes.scatter(own[:, 0], own[:, 1], s=18, color=_COLOURS[index % len(_COLOURS)], label=site, zorder=2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance)", fontsize=8)
        axes.set_ylabel(f"second component ({shares[1]:.0%})", fontsize=8)
        axes.tick_params(labelsize=7)
        if number == 1:
            axes.legend(title="site; lines join a person's scans", fontsize=7, title_fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
