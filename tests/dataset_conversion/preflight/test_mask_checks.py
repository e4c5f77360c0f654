from __future__ import annotations

import numpy as np
import pytest

from femur_nnunet.dataset_conversion.preflight import mask_checks as checks
from femur_nnunet.dataset_conversion.preflight.findings import Verdict, go, look, stop

GO, LOOK, STOP = Verdict.GO, Verdict.LOOK, Verdict.STOP
SPACING = (2.0, 2.0, 2.0)  # voxels of 8 mm3: 125 are 1 ml


def rod(length=40, radius=14):
    """A rod of 40 x pi x 14^2 voxels: 197 ml."""
    z, y, x = np.indices((50, 60, 60))
    return ((y - 30) ** 2 + (x - 30) ** 2 <= radius ** 2) & (z >= 5) & (z < 5 + length)


def test_one_piece_passes_and_a_second_one_is_to_be_looked_at():
    femur = rod()
    assert checks.check_mask_components(femur, SPACING).verdict == GO
    femur[0, 0, 0] = True  # a crumb of 0.008 ml
    assert checks.check_mask_components(femur, SPACING).verdict == GO
    femur[:2, :5, :5] = True  # 0.4 ml
    finding = checks.check_mask_components(femur, SPACING)
    assert (finding.verdict, "the next 0.40 ml" in finding.reason) == (LOOK, True)


@pytest.mark.parametrize(("femur", "verdict"), [(rod(), GO), (rod(radius=4), LOOK), (rod(radius=24), LOOK)])
def test_a_volume_that_no_proximal_femur_has_is_to_be_looked_at(femur, verdict):
    assert checks.check_mask_volume(femur, SPACING).verdict == verdict


def test_a_marrow_cavity_left_out_is_a_hole_even_where_it_opens_at_the_cut():
    femur = rod()
    assert checks.check_mask_holes(femur, SPACING).verdict == GO
    assert checks.check_mask_holes(femur & ~rod(radius=5), SPACING).verdict == LOOK


def test_a_mask_must_lie_on_bone():
    femur = rod()
    image = np.where(femur, np.where(rod(radius=11), -30, 900), 40)  # yellow marrow in a cortex
    assert checks.check_mask_on_bone(femur, image, SPACING).verdict == GO
    assert checks.check_mask_on_bone(femur, np.roll(image, 16, axis=2), SPACING).verdict == LOOK
    in_air = np.where(femur, image, -1000)
    assert checks.check_mask_on_bone(np.roll(femur, 10, axis=1), in_air, SPACING).verdict == STOP


def test_a_mask_cut_by_the_image_or_interrupted_is_to_be_looked_at():
    femur = rod()
    assert checks.check_mask_extent(femur).verdict == GO
    assert "uppermost" in checks.check_mask_extent(np.roll(femur, 5, axis=0)).reason
    assert "side" in checks.check_mask_extent(np.roll(femur, 16, axis=2)).reason
    gap = femur.copy()
    gap[20:22] = False
    assert "2 empty slice(s)" in checks.check_mask_extent(gap).reason
    assert checks.check_mask_extent(np.roll(femur, -5, axis=0)).verdict == GO  # the shaft's end is always cut


def test_hips_are_combined_to_the_worst_of_them():
    combined = checks.combine("mask", [("left", go("mask", "fine")), ("right", stop("mask", "bad", "mend it"))])
    assert (combined.verdict, combined.reason, combined.mend) == (STOP, "right: bad", "mend it")
    both = checks.combine("mask", [("left", look("mask", "a", "m")), ("right", stop("mask", "b", "n"))])
    assert both.reason == "left: a; right: b"
    assert checks.combine("mask", [("left", go("mask", "x")), ("right", go("mask", "y"))]).reason == "left: x; right: y"
