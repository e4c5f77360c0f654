"""A volume that cannot be a CT of the hip is refused, whatever its file claims."""

from __future__ import annotations

import numpy as np
import pytest
from real_data import real_data

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.plausibility import refuse_what_is_no_hip_ct
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.volume import Grid, Volume


def volume(values: list[float], spacing_mm: tuple[float, float, float] = (0.8, 0.8, 2.5)) -> Volume:
    array = np.resize(np.asarray(values), (3, 4, 5))
    return Volume(array, Grid((5, 4, 3), spacing_mm, (0, 0, 0)))


@pytest.mark.parametrize(("values", "told"), [
    ([0, 1, 2], "values from 0 to 2"),  # a label map
    ([0, 0], "values from 0 to 0"),  # a blank image
    ([0, 1024, 2400], "values from 0 to 2400"),  # scanner numbers without rescale, or MR
    ([-1024, -90, 60], "values from -1024 to 60"),  # no bone
    ([-1024, 900, 200000], "values from -1024 to 200000"),
    ([-99.5, 900], "values from -99.5 to 900"),
])
def test_values_that_no_hip_ct_has_are_refused(values: list[float], told: str) -> None:
    with pytest.raises(FemurError, match=f"row 2: found {told}; expected a CT in HU"):
        refuse_what_is_no_hip_ct(volume(values), subject="row 2")


@pytest.mark.parametrize("spacing_mm", [(300.0, 300.0, 300.0), (0.8, 0.8, 12.0), (0.0008, 0.0008, 0.0025)])
def test_spacings_in_other_units_are_refused(spacing_mm: tuple[float, float, float]) -> None:
    with pytest.raises(FemurError, match=r"a voxel spacing of .* mm; expected 0\.05 to 10 mm"):
        refuse_what_is_no_hip_ct(volume([-1000, 40, 700], spacing_mm))


@pytest.mark.parametrize("values", [[-1000, 40, 700], [-100, 100], [-3024, 30710], [-120.5, 55.5, 300.25]])
def test_hounsfield_values_of_a_hip_pass(values: list[float]) -> None:
    refuse_what_is_no_hip_ct(volume(values))


def test_a_real_ct_passes_and_real_label_maps_do_not() -> None:
    refuse_what_is_no_hip_ct(read_volume(real_data("ct", "pelvis_3mm_left_nail.nii.gz")))
    with pytest.raises(FemurError, match="values from 0 to 5"):
        refuse_what_is_no_hip_ct(read_volume(real_data("hip_labels", "a70.nii.gz")))
