from __future__ import annotations

import numpy as np
import pytest
from ibsi_phantom import AVERAGED, MASK_ZYX, MERGED, PLAIN, SPACING_MM_ZYX, TOLERANCE, VOXELS_ZYX

from femur_nnunet.evaluation.texture.directions import Aggregation
from femur_nnunet.evaluation.texture.options import TextureOptions
from femur_nnunet.evaluation.texture.radiomics import FEATURES, TextureStatus, measure_radiomics


def measured(aggregation: Aggregation, **options: object) -> dict[str, float]:
    # Bins of 1 from 1 on leave the phantom's grey levels as they are.
    chosen = {"spacing_mm": None, "lowest_hu": 1.0, "highest_hu": 100.0, "bin_width_hu": 1.0} | options
    values = measure_radiomics(MASK_ZYX, VOXELS_ZYX, SPACING_MM_ZYX,
                               TextureOptions(aggregation=aggregation, **chosen))  # type: ignore[arg-type]
    assert all(one.status is TextureStatus.OK for one in values)
    return {one.feature.ibsi_code: one.value for one in values}


@pytest.fixture(scope="module")
def merged() -> dict[str, float]:
    return measured(Aggregation.MERGED)


@pytest.fixture(scope="module")
def averaged() -> dict[str, float]:
    return measured(Aggregation.AVERAGED)


def agrees(value: float, published: float, code: str) -> bool:
    """Whether a value has the published digits, or lies within the manual's tolerance where it gives one."""
    if code in TOLERANCE:
        return abs(value - published) <= TOLERANCE[code]
    return float(f"{value:.3g}") == published


@pytest.mark.parametrize("code", [*PLAIN, *MERGED])
def test_a_feature_has_the_published_value_with_directions_merged(merged, code):
    published = (PLAIN | MERGED)[code]
    assert agrees(merged[code], published, code), f"{merged[code]} instead of {published}"


@pytest.mark.parametrize("code", AVERAGED)
def test_a_feature_has_the_published_value_with_directions_averaged(averaged, code):
    assert agrees(averaged[code], AVERAGED[code], code), f"{averaged[code]} instead of {AVERAGED[code]}"


def test_every_feature_is_checked_and_every_code_is_there_once():
    codes = [feature.ibsi_code for feature in FEATURES]
    assert len(codes) == 123
    assert set(codes) == set(PLAIN | MERGED)
    assert len(set(codes)) == len(codes)
    assert len({feature.quantity for feature in FEATURES}) == len(codes)


def test_six_bins_leave_the_phantom_as_it_is_too():
    values = measured(Aggregation.MERGED, bin_number=6)
    assert all(agrees(values[code], published, code) for code, published in (PLAIN | MERGED).items())


def test_resampling_the_phantom_to_its_own_spacing_changes_nothing():
    here, there = measured(Aggregation.MERGED), measured(Aggregation.MERGED, spacing_mm=2.0)
    assert np.allclose([here[code] for code in here], [there[code] for code in here], rtol=1e-12)
