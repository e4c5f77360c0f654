"""One run of the site gap benchmark: an arm trained, its masks, its measures.

Every step is a command that a user could type. Steps that are done are not repeated.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from site_gap_arms import ARMS, MASKS, Run
from skimage import measure

from femur_nnunet.cohort import MISSING
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.trainers.transunet_adabn_trainer import SOURCE_STATISTICS_NAME


def train(run: Run, dataset: Path) -> None:
    """Plan and train the arm."""
    arm, number = ARMS[run.arm], dataset.name[7:10]
    environment = nnunet_environment(run.root)
    StepRunner(run.network_folder, quiet=True).run([
        Step("plan", "Plan",
             ("femur_plan", "-d", number, "--preset", run.size.preset, "--name", run.plan_suffix, "--epochs",
              str(run.size.epochs), "--seed", str(run.seed), "--jobs", str(run.jobs), "--quiet",
              *(text for change in run.changes for text in ("--set", change))), environment),
        Step("train", f"Train {arm.trainer}",
             ("nnUNetv2_train", number, "3d_fullres", "0", "-tr", arm.trainer, "-p", run.plans_name, "-device",
              run.device),
             {**environment, **({"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"} if run.device == "cpu" else {})},
             bar_pattern=r"Epoch time:", bar_total=run.size.epochs, resume_argument="--c")])


def training_minutes(run: Run) -> float:
    """Return the minutes that the arm's training took, whenever that was."""
    done = json.loads((run.network_folder / "steps_done.json").read_text(encoding="utf-8"))
    return float(done["train"]["seconds"]) / 60


def predict_and_measure(run: Run, dataset: Path, trained: Path) -> None:
    """Predict the tier's test scans, measure the masks and their largest components, and probe the network."""
    environment = nnunet_environment(run.root)
    folder = run.results_folder
    StepRunner(folder, quiet=True).run([
        Step(f"predict{site and '_'}{site}", "Predict the test scans",
             (*prediction_command(run, images, folder / "raw", trained.name[7:10]), *checkpoint),
             environment, bar_pattern=r"^Predicting ", bar_total=0)
        for site, images, checkpoint in _predictions(run, dataset)])
    evaluate_masks(run, dataset, folder, "--source-site", "tulane")
    network = run.root / "nnUNet_results" / trained.name / f"{ARMS[run.arm].trainer}__{run.plans_name}__3d_fullres"
    StepRunner(folder / "probe", quiet=True).run([
        Step("probe", "Probe the features for the site",
             ("femur_probe", f"{run.arm}={network}", "-d", dataset.name[7:10], "--scans", "test", "--out",
              str(folder / "probe"), "--device", run.device, "--quiet"), environment)])


def evaluate_masks(run: Run, dataset: Path, folder: Path, *options: str) -> None:
    """Evaluate the masks in a folder's ``raw``, and their largest components, into ``evaluation_<kind>``."""
    keep_largest_components(folder / "raw", folder / "largest_component")
    for masks in MASKS:
        StepRunner(folder / f"evaluation_{masks}", quiet=True).run([
            Step("evaluate", "Evaluate by site",
                 ("femur_eval", str(folder / masks), str(dataset / "labelsTs"), "--scans", str(dataset / "scans.tsv"),
                  *options, "--out", str(folder / f"evaluation_{masks}"), "--arm", run.arm, "--jobs", str(run.jobs),
                  "--quiet"), nnunet_environment(run.root), accepted_codes=(0, 1))])


def case_rows(run: Run, columns: tuple[str, ...]) -> list[dict[str, object]]:
    """Return the measures of every hip, raw masks and largest components."""
    rows: list[dict[str, object]] = []
    for masks in MASKS:
        for row in _rows(run.results_folder / f"evaluation_{masks}" / "cases.csv"):
            rows.append({"arm": run.arm, "tier": run.tier, "seed": run.seed, "masks": masks,
                         **{column: row[column] for column in columns}})
    return rows


def probe_row(run: Run) -> dict[str, str]:
    """Return femur_probe's row on the test scans."""
    (row,) = _rows(run.results_folder / "probe" / "probe.csv")
    return row


def site_means(run: Run, masks: str, site: str) -> dict[str, float]:
    """Return femur_eval's means over the participants of a site, by metric; NaN where no hip has a value."""
    return {row["metric"]: math.nan if row["mean"] == MISSING else float(row["mean"])
            for row in _rows(run.results_folder / f"evaluation_{masks}" / "sites.csv")
            if row["site"] == site and row["sex"] == "all"}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def keep_largest_components(source: Path, target: Path) -> None:
    """Write every mask of a folder with its largest component alone: nnU-Net's usual postprocessing."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.nii.gz")):
        image = sitk.ReadImage(str(path))
        components = measure.label(sitk.GetArrayFromImage(image) > 0)
        sizes = np.bincount(components.ravel())[1:]
        largest = int(sizes.argmax()) + 1 if sizes.size else -1
        kept = sitk.GetImageFromArray((components == largest).astype(np.uint8))
        kept.CopyInformation(image)
        sitk.WriteImage(kept, str(target / path.name))


def prediction_command(run: Run, images: Path, masks: Path, number: str) -> tuple[str, ...]:
    """Return the command that predicts images with the arm, trained on the dataset of this number."""
    return ("nnUNetv2_predict", "-i", str(images), "-o", str(masks), "-d", number, "-c", "3d_fullres", "-f", "0", "-tr",
            ARMS[run.arm].trainer, "-p", run.plans_name, "-device", run.device,
            *(("-npp", "0", "-nps", "0") if run.device == "cpu" else ()))


def _predictions(run: Run, dataset: Path) -> list[tuple[str, Path, tuple[str, ...]]]:
    """Return site, images and checkpoint of each prediction: one of all test scans, or one a site."""
    if not ARMS[run.arm].keeps_statistics:
        return [("", dataset / "imagesTs", ())]
    predictions = []
    for site, checkpoint in (("tulane", SOURCE_STATISTICS_NAME), ("rochester", "checkpoint_final.pth")):
        images = run.results_folder / f"images_{site}"
        images.mkdir(parents=True, exist_ok=True)
        for path in (dataset / "imagesTs").glob(f"{site}_*"):
            (images / path.name).unlink(missing_ok=True)
            (images / path.name).symlink_to(path)
        predictions.append((site, images, ("-chk", checkpoint)))
    return predictions

