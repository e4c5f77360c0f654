"""Whatever a file holds, reading ends in a volume or in one clear refusal, without a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import write_ct_series, write_enhanced_ct
from pydicom.uid import JPEGLSLossless, RLELossless

from femur_nnunet.errors import FemurError
from femur_nnunet.volume_io.reading import read_volume
from femur_nnunet.volume_io.volume import Volume

STORED = np.random.default_rng(0).integers(0, 4096, (4, 16, 12)).astype(np.uint16)
N_MUTATIONS = 40


def series(**options: str) -> Callable[[Path], tuple[Path, Path]]:
    def build(folder: Path) -> tuple[Path, Path]:
        return folder, write_ct_series(folder, STORED, **options)[1]  # type: ignore[arg-type]
    return build


def multi_frame(folder: Path) -> tuple[Path, Path]:
    write_enhanced_ct(folder / "multi.dcm", STORED)
    return folder, folder / "multi.dcm"


def image_file(name: str) -> Callable[[Path], tuple[Path, Path]]:
    def build(folder: Path) -> tuple[Path, Path]:
        sitk.WriteImage(sitk.GetImageFromArray(STORED.astype(np.int16)), str(folder / name))
        return folder / name, folder / name
    return build


def read_or_refusal(source: Path) -> Volume | FemurError:
    try:
        return read_volume(source, subject="row 1")
    except FemurError as error:
        return error


@pytest.mark.parametrize("build", [series(), series(transfer_syntax=RLELossless),
                                   series(transfer_syntax=JPEGLSLossless), multi_frame, image_file("s.nii"),
                                   image_file("s.mha"), image_file("s.nrrd")],
                         ids=["plain", "RLE", "JPEG-LS", "multi-frame", "NIfTI", "MetaImage", "NRRD"])
def test_mutated_bytes_give_a_volume_or_a_refusal(tmp_path: Path, build: Callable[[Path], tuple[Path, Path]]) -> None:
    source, target = build(tmp_path)
    sound = target.read_bytes()
    generator = np.random.default_rng(17)
    refused = 0
    for _ in range(N_MUTATIONS):
        mutated = np.frombuffer(sound, dtype=np.uint8).copy()
        places = generator.integers(0, mutated.size, generator.integers(1, 6))
        mutated[places] = generator.integers(0, 256, places.size)
        length = mutated.size if generator.random() < 0.8 else generator.integers(0, mutated.size)
        target.write_bytes(mutated[:length].tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            outcome = read_or_refusal(source)
        if isinstance(outcome, FemurError):
            refused += 1
            assert str(outcome).startswith("row 1: found ")
            assert str(tmp_path) not in str(outcome)
        else:
            assert outcome.array.shape == outcome.grid.shape_kji
            assert np.isfinite(outcome.array).all()
    assert 0 < refused < N_MUTATIONS
