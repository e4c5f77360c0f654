"""The command that users call, on a trained folder and on its way through a bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from trained_folder import write_preprocessed, write_trained_folder

from femur_nnunet.drivers.packing.export_nnunet import export_nnunet
from femur_nnunet.drivers.packing.pack import PackOptions, pack_bundle
from femur_nnunet.env_command import nnunet_environment


@pytest.mark.long
def test_nnunetv2_predict_from_modelfolder_gives_the_same_masks(tmp_path):
    write_preprocessed(tmp_path)
    trained = write_trained_folder(tmp_path)
    export_nnunet(pack_bundle(PackOptions(trained, tmp_path / "m.zip", quiet=True)), tmp_path / "export")
    images = tmp_path / "nnUNet_raw" / "Dataset501_Toy" / "imagesTs"
    environment = {**os.environ, **nnunet_environment(tmp_path), "nnUNet_def_n_proc": "1"}
    masks = []
    for name, folder in (("a", trained), ("b", tmp_path / "export")):
        subprocess.run([Path(sys.executable).parent / "nnUNetv2_predict_from_modelfolder", "-i", images, "-o",
                        tmp_path / name, "-m", folder, "-f", "0", "1", "-device", "cpu", "-npp", "1", "-nps", "1"],
                       env=environment, check=True, capture_output=True)
        masks.append({path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
                      for path in (tmp_path / name).glob("*.nii.gz")})
    assert len(masks[0]) == 4
    assert masks[0].keys() == masks[1].keys()
    assert all((masks[0][name] == masks[1][name]).all() for name in masks[0])
    assert any(mask.any() for mask in masks[0].values())
    assert any((mask == 0).any() for mask in masks[0].values())
