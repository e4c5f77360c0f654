from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from femur_nnunet.segmentation.preview import COLOURS, write_preview
from femur_nnunet.segmentation.segment import segment_volume


def near(picture, colour):
    return int((np.abs(picture.astype(int) - np.array(ImageColor.getrgb(colour))).sum(axis=2) < 60).sum())


def test_the_picture_shows_the_contours_of_the_femora_that_there_are(tmp_path, threshold_model, painted_scan):
    pictures = {}
    for side in ("both", "left"):
        segmentation = segment_volume(painted_scan, threshold_model, side=side, fast=True, step=1.0)
        write_preview(tmp_path / f"{side}.png", painted_scan, segmentation, heading="a model", lines=["a line"])
        pictures[side] = np.asarray(Image.open(tmp_path / f"{side}.png").convert("RGB"))
    # Contours of over a thousand pixels; a title has some hundred.
    assert near(pictures["both"], COLOURS["left"]) > 1000
    assert near(pictures["both"], COLOURS["right"]) > 1000
    assert near(pictures["left"], COLOURS["left"]) > 1000
    assert near(pictures["left"], COLOURS["right"]) == 0
    assert (tmp_path / "both.png").stat().st_size < 1_500_000
