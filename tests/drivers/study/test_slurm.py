from __future__ import annotations

import os
import subprocess

from femur_nnunet.drivers.study.commands import RunSettings
from femur_nnunet.drivers.study.protocol import arms_of, load_study_data
from femur_nnunet.drivers.study.slurm import array_script
from femur_nnunet.planners.plan_options import PlanOptions


def test_each_task_of_the_array_trains_its_fold_and_goes_on_where_it_stopped(study_root, tmp_path):
    data = load_study_data(501, study_root / "out", ())
    (arm,) = arms_of(["VNetDiceL2Trainer"], PlanOptions(501, preset="cpu", name="study"), [])["VNetDiceL2Trainer"]
    script = tmp_path / "study.slurm"
    script.write_text(array_script([(arm, 0), (arm, 3)], RunSettings(501, device="cuda", num_gpus=2), data.folders,
                                   ["femur_plan -d 501"]))
    assert "#SBATCH --array=0-1\n" in script.read_text()
    assert "#SBATCH --gres=gpu:2\n" in script.read_text()
    assert "#   femur_plan -d 501\n" in script.read_text()
    program = tmp_path / "bin" / "nnUNetv2_train"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$nnUNet_raw" "$@"\n')
    program.chmod(0o755)

    def task(number: int) -> subprocess.CompletedProcess:
        environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(number)}
        return subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)

    common = f"-tr VNetDiceL2Trainer -p {arm.plans_name} -device cuda -num_gpus 2"
    assert task(1).stdout.strip() == f"{study_root / 'nnUNet_raw'} 501 3d_fullres 3 {common}"
    checkpoint = data.folders.fold(arm, 3) / "checkpoint_latest.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("half-way")
    assert task(1).stdout.strip().endswith(f"3 {common} --c")
    # Stopped in the validation, after nnU-Net has replaced it.
    checkpoint.rename(checkpoint.with_name("checkpoint_final.pth"))
    assert task(1).stdout.strip().endswith(f"3 {common} --c")
    assert task(0).stdout.strip().endswith(common)
    assert task(2).returncode == 2
