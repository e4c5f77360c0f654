"""The picture of a training's adaptation: losses, weights, classifier, gradients and the choice of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from femur_nnunet.files import atomic_path

# Panel title, its curves, and whether the axis is logarithmic.
PANELS: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("losses, without weights", ("segmentation_loss", "domain_loss", "mmd", "consistency"), False),
    ("weights and lambda", ("reversal_strength", "mmd_weight", "consistency_weight"), False),
    ("site classifier's accuracy", ("site_accuracy",), False),
    ("gradient norms at the encoder, weighted", ("gradient_segmentation", "gradient_domain", "gradient_mmd",
                                                "gradient_consistency"), True),
    ("choice of the checkpoint", ("source_dice", "target_agreement", "target_plausibility", "selection_score"), False),
)


def plot_curves(path: Path, curves: Mapping[str, Sequence[float]], *, chance: float, title: str) -> None:
    """Draw all curves over the epochs, one panel a kind.

    Parameters
    ----------
    path : Path
        The PNG file.
    curves : mapping of str to sequence of float
        One value an epoch, NaN where none was measured.
    chance : float
        Accuracy of guessing the site, drawn as a line.
    title : str
        Written above.
    """
    figure = Figure(figsize=(8, 2.4 * len(PANELS)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (name, columns, logarithmic) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS, strict=True):
        for column in columns:
            # A marker, since a training of one epoch has no line.
            axes.plot(range(len(curves[column])), curves[column], marker=".", markersize=3, linewidth=1, label=column)
        if columns == ("site_accuracy",):
            axes.axhline(chance, color="grey", linestyle="--", linewidth=1, label="chance")
            axes.set_ylim(-0.02, 1.02)
        if logarithmic:
            axes.set_yscale("log", nonpositive="mask")
        axes.set_title(name, fontsize=9)
        axes.legend(fontsize=7, loc="best")
    axes.set_xlabel("epoch")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
