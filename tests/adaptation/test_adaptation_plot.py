from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

from femur_nnunet.adaptation.adaptation_plot import PANELS, plot_curves


def test_all_curves_are_drawn_with_gaps_and_zeros(tmp_path):
    curves = {column: [0.5, math.nan, 0.0] for _, columns, _ in PANELS for column in columns}
    plot_curves(tmp_path / "adaptation.png", curves, chance=0.5, title="a training")
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "adaptation.png")))
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 4
    assert [path.name for path in tmp_path.iterdir()] == ["adaptation.png"]
