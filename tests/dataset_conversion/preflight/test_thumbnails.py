from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from femur_nnunet.dataset_conversion.preflight.thumbnails import LARGEST_PIXELS, draw


def pixels(thumbnail):
    kind, _, data = thumbnail.data_uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def test_the_window_maps_to_black_and_white_and_spacing_to_size():
    plane = np.full((20, 40), -1000)
    plane[:, 20:] = 2000
    thumbnail = draw(plane, (3.2, 1.6), "axial")
    picture = pixels(thumbnail)
    assert picture.shape == (40, 40, 3) == (thumbnail.height, thumbnail.width, 3)  # 1.6 mm pixels
    assert picture[:, :15].max() < 25
    assert picture[:, 25:].min() > 230


@pytest.mark.parametrize("shape", [(2000, 10), (900, 1200), (1, 1)])
def test_large_planes_are_shrunk_and_tiny_ones_stay(shape):
    thumbnail = draw(np.zeros(shape), (1.0, 1.0), "axial")
    assert min(thumbnail.width, thumbnail.height) >= 1
    assert max(thumbnail.width, thumbnail.height) <= LARGEST_PIXELS


def test_contours_are_coloured_solid_on_the_left_and_dashed_on_the_right():
    mask = np.zeros((60, 120), np.uint8)
    mask[20:40, 80:100], mask[20:40, 20:40] = 1, 2
    picture = pixels(draw(np.full(mask.shape, -1000), (1.6, 1.6), "axial", mask))
    coloured = np.ptp(picture, axis=2) > 90
    left, right = coloured[:, 70:].sum(), coloured[:, :50].sum()
    assert left > 1.4 * right > 0
    assert not coloured[28:32, 88:92].any()  # the inside stays visible
