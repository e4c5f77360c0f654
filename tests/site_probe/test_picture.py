from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from femur_nnunet.site_probe.picture import draw_picture, first_two_components
from femur_nnunet.site_probe.statistics import ProbeFeatures


def test_components_are_those_of_the_correlation_matrix():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(50, 4)) @ generator.normal(size=(4, 4))
    scores, shares = first_two_components(values)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.corrcoef(values.T)))[::-1]
    assert shares == pytest.approx(tuple(eigenvalues[:2] / 4))
    assert scores.var(0) == pytest.approx(eigenvalues[:2])
    assert abs(float(np.corrcoef(scores.T)[0, 1])) < 1e-9


def test_one_feature_and_a_constant_one_do_not_stop_the_picture():
    scores, shares = first_two_components(np.asarray([[1.0], [2.0], [3.0]]))
    assert shares == pytest.approx((1.0, 0.0))
    assert (scores[:, 1] == 0).all()
    first_two_components(np.ones((3, 2)))


def test_every_site_has_its_colour_and_every_arm_its_panel(tmp_path):
    generator = np.random.default_rng(0)
    features = ProbeFeatures(generator.normal(size=(12, 5)), np.repeat(["a", "b"], 6), np.repeat(list("uvwxyz"), 2))
    one, four = tmp_path / "one.png", tmp_path / "four.png"
    draw_picture(one, {"arm": features})
    draw_picture(four, {f"arm {number}": features for number in range(4)})
    pixels = imread(one)[..., :3].reshape(-1, 3)
    for colour in ((0, 114, 178), (213, 94, 0)):
        assert (np.abs(pixels - np.asarray(colour) / 255).max(1) < 0.02).sum() > 100
    assert imread(four).shape[0] > 1.8 * imread(one).shape[0]
