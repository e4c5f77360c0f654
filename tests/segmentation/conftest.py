from __future__ import annotations

import pytest
from threshold_bundle import painted, write_threshold_bundle

from femur_nnunet.phantom.render import RenderedScan
from femur_nnunet.segmentation.model import SegmentationModel
from femur_nnunet.volume_io.volume import Volume


@pytest.fixture(scope="session")
def threshold_model(tmp_path_factory: pytest.TempPathFactory) -> SegmentationModel:
    """A model that says femur above 300 HU, at 3 mm."""
    return SegmentationModel.of_bundle(write_threshold_bundle(tmp_path_factory.mktemp("model") / "threshold.zip"))


@pytest.fixture(scope="session")
def painted_scan(hips_scan: RenderedScan) -> Volume:
    """Both hips at 3 mm with nothing but the femora above 300 HU; their truth is ``hips_scan.mask``."""
    return Volume(painted(hips_scan), hips_scan.grid)
