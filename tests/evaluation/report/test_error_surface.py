from __future__ import annotations

import numpy as np
import pytest
from kit_femora import SPACING_MM_ZYX, femur_fields
from shapes import block

from femur_nnunet.evaluation.report.error_surface import MappedCase, mean_errors, signed_errors_mm
from femur_nnunet.evaluation.report.surface_mapping import place_template, values_on_template
from femur_nnunet.evaluation.report.template_femur import template_femur

SPACING = (2.0, 1.0, 1.0)
SHAPE = (20, 20, 20)


def at(positions_mm, signed_mm, x_mm):
    """Errors in the middle of a face across x."""
    chosen = (positions_mm[:, 0] == x_mm) & (abs(positions_mm[:, 1] - 9) < 3) & (abs(positions_mm[:, 2] - 18) < 6)
    return signed_mm[chosen]


def test_equal_masks_have_no_error_and_the_cut_plane_is_no_border():
    box = block(SHAPE, (0, 4, 4), (18, 16, 16))
    positions, signed = signed_errors_mm(box, box, SPACING)
    assert not signed.any()
    inner = (positions[:, 0] > 5) & (positions[:, 0] < 14) & (positions[:, 1] > 5) & (positions[:, 1] < 14)
    assert positions[inner, 2].min() == 34.0  # slice 17, the top, alone


def test_a_face_that_lies_further_out_is_positive_and_further_in_negative():
    reference = block(SHAPE, (2, 4, 4), (18, 16, 16))
    prediction = block(SHAPE, (2, 4, 6), (18, 16, 19))
    positions, signed = signed_errors_mm(reference, prediction, SPACING)
    # Faces at x = 4 and 15 mm: the prediction begins 2 mm later and ends 3 mm further out.
    np.testing.assert_allclose(at(positions, signed, 4.0), -2.0)
    np.testing.assert_allclose(at(positions, signed, 15.0), 3.0)


def test_shaft_that_only_one_mask_shows_is_no_error():
    reference, prediction = block(SHAPE, (0, 4, 4), (18, 16, 16)), block(SHAPE, (4, 4, 4), (18, 16, 16))
    _, signed = signed_errors_mm(reference, prediction, SPACING)
    assert not signed.any()


@pytest.mark.parametrize("seed", [3, 8])
def test_the_template_is_laid_onto_other_femora_and_shows_an_error_where_it_was_made(seed):
    def error_mm(shape, at):
        return np.where(shape.along_neck(at) < 8.0, 3.0, np.where(at.z < -65.0, -2.0, 0.0))

    reference, prediction, origin = femur_fields(seed, error_mm, spacing_mm_zyx=(2.0, 1.5, 1.5))
    spacing = (2.0, 1.5, 1.5)
    border_mm, signed_mm = signed_errors_mm(reference, prediction, spacing)
    template = template_femur()
    placed = place_template(template, reference, border_mm, spacing)
    assert placed.residual_mm < 2.5
    values = values_on_template(placed, border_mm, signed_mm)
    own = template.vertices_mm
    radius_mm = template.shape.anatomy.head_radius_mm
    head = (np.linalg.norm(own, axis=1) < radius_mm + 1) & (own @ template.shape.neck_axis < 0)
    shaft = (own[:, 2] < -80) & (own[:, 2] > -100)
    trochanter = (own[:, 0] > 45) & (own[:, 2] > -35)
    assert np.nanmedian(values[head]) == pytest.approx(3.0, abs=0.7)
    assert np.nanmedian(values[shaft]) == pytest.approx(-2.0, abs=0.7)
    assert np.nanmedian(values[trochanter]) == pytest.approx(0.0, abs=0.3)
    # The head's vertices lie on the case's head: its centre is the origin of the kit's frame.
    distance_mm = np.linalg.norm(placed.vertices_mm[head] + np.asarray(origin), axis=1)
    assert distance_mm.std() < 1.5


def test_shaft_beyond_the_image_has_no_value():
    reference, _, _ = femur_fields(3, lambda shape, at: 0.0, lowest_mm=70.0)
    border_mm, signed_mm = signed_errors_mm(reference, reference, SPACING_MM_ZYX)
    placed = place_template(template_femur(), reference, border_mm, SPACING_MM_ZYX)
    values = values_on_template(placed, border_mm, signed_mm)
    lowest = template_femur().vertices_mm[:, 2] < -105
    assert np.isnan(values[lowest]).all()
    assert np.isfinite(values[template_femur().vertices_mm[:, 2] > 0]).all()


def test_hips_are_averaged_by_participant_and_shown_where_half_of_them_reach():
    nan = np.nan
    cases = [MappedCase("a_l", "p1", "aa", {"m": np.array([1.0, 4.0, nan])}),
             MappedCase("a_r", "p1", "aa", {"m": np.array([3.0, nan, nan])}),
             MappedCase("b_l", "p2", "aa", {"m": np.array([8.0, nan, 5.0])}),
             MappedCase("c_l", "p3", "bb", {"m": np.array([100.0, 100.0, 100.0])})]
    mean = mean_errors(cases, "m", "aa")
    assert (mean.participants, mean.hips) == (2, 3)
    # ((1 + 3) / 2 + 8) / 2; the others are seen by one hip of three.
    np.testing.assert_array_equal(mean.values_mm, [5.0, nan, nan])
    assert mean_errors(cases, "other", "aa") is None


def test_the_view_from_the_front_shows_the_head_of_a_left_femur_on_the_left():
    view = template_femur().view("from the front")
    seen = np.isfinite(view.points_mm[..., 0])
    above_the_trochanter = seen[20]
    assert np.flatnonzero(above_the_trochanter).mean() < np.flatnonzero(seen.any(axis=0)).mean()
    # The head's top faces the viewer less than its front does.
    head = view.brightness[:, seen.any(axis=0)][:, :60]
    assert head[45:65].max() > 0.98
    assert np.linalg.norm(view.points_mm[seen][:, :2], axis=1).max() < 90
