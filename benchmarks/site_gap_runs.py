"""One run of the site gap benchmark: a synthetic cohort, an arm trained on it, its masks, its measures.

Every step is a command that a user could type. Steps that are done are not repeated.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from skimage import measure

from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment

TIERS = ("none", "mild", "moderate", "severe")
MASKS = ("raw", "largest_component")
# A network that never sees Rochester is the same whatever Rochester's tier: it is trained once, here.
SOURCE_ALONE_TIER = "moderate"


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes
    ----------
    trainer : str
        Trainer of this package.
    changes : tuple of str
        Settings of the plan that differ from the preset.
    uses_rochester : bool
        Whether scans of Rochester take part in training.
    oracle : bool
        Whether they take part with their labels.
    """

    trainer: str
    changes: tuple[str, ...] = ()
    uses_rochester: bool = True
    oracle: bool = False


_PLAIN = ("augmentation.nnunet_intensity=false",)
ARMS: dict[str, Arm] = {
    "source_only": Arm("TransUNetTrainer", _PLAIN, uses_rochester=False),
    "nnunet_aug": Arm("TransUNetTrainer", uses_rochester=False),
    "ct_aug": Arm("TransUNetTrainer", ("augmentation.ct_acquisition=true",), uses_rochester=False),
    "grl": Arm("TransUNetGRLTrainer", _PLAIN),
    "grl_aug": Arm("TransUNetGRLTrainer"),
    "mmd": Arm("TransUNetMMDTrainer", _PLAIN),
    "mmd_aug": Arm("TransUNetMMDTrainer"),
    "grl_mmd": Arm("TransUNetDATrainer", _PLAIN),
    "grl_mmd_aug": Arm("TransUNetDATrainer"),
    "mean_teacher": Arm("TransUNetMeanTeacherTrainer"),
    "plus": Arm("TransUNetDAPlusTrainer", ("augmentation.ct_acquisition=true",)),
    "oracle": Arm("TransUNetTrainer", oracle=True),
}


@dataclass(frozen=True)
class Size:
    """Participants of the cohort and steps of the training; the same for every arm."""

    train_tulane: int = 24
    test_tulane: int = 12
    train_rochester: int = 16
    test_rochester: int = 20
    epochs: int = 15
    labelled_patches: int = 2
    preset: str = "cpu"


@dataclass(frozen=True)
class Run:
    """One arm on one cohort."""

    arm: str
    tier: str
    seed: int
    size: Size
    work: Path
    device: str = "cpu"
    jobs: int = 2
    label_maps: Path | None = None

    @property
    def trained_tier(self) -> str:
        """Tier of the cohort that the arm is trained on."""
        return self.tier if ARMS[self.arm].uses_rochester else SOURCE_ALONE_TIER

    @property
    def network_folder(self) -> Path:
        """Folder of the trained arm's steps."""
        return self.work / f"seed{self.seed}" / "arms" / f"{self.arm}_{self.trained_tier}"

    @property
    def results_folder(self) -> Path:
        """Folder of the arm's masks and tables on its tier."""
        return self.work / f"seed{self.seed}" / "results" / f"{self.arm}_{self.tier}"


def make_cohort(run: Run, tier: str, *, oracle: bool) -> Path:
    """Render and convert one tier's cohort and return its dataset in nnUNet_raw."""
    root = run.work / f"seed{run.seed}"
    sites, environment = root / "sites" / tier, nnunet_environment(root)
    number = 510 + TIERS.index(tier) + (10 if oracle else 0)
    size, common = run.size, ("--jobs", str(run.jobs), "--quiet")
    counts = {"--n-tulane": size.train_tulane + size.test_tulane, "--n-test-tulane": size.test_tulane,
              "--n-rochester": size.train_rochester + size.test_rochester, "--n-test-rochester": size.test_rochester}
    labels = ("--label-maps", str(run.label_maps)) if run.label_maps else ()
    unlabelled = () if oracle else ("--unlabelled-site", "rochester")
    StepRunner(root / "cohorts" / tier, quiet=True).run([
        Step("phantom", "Render the cohort",
             ("femur_phantom", "--out", str(sites), "--preset", "demo", "--tier", tier, "--seed", str(run.seed),
              *(text for name, count in counts.items() for text in (name, str(count))), *labels, *common),
             environment)])
    StepRunner(root / "cohorts" / f"{tier}_{number}", quiet=True).run([
        Step("convert", "Convert it",
             ("convert_qct_sites", "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester"), "--out",
              str(root / "nnUNet_raw"), "--dataset-id", str(number), *unlabelled, "--key-seed", str(run.seed),
              *common), environment, accepted_codes=(0, 1))])
    return root / "nnUNet_raw" / f"Dataset{number}_ProximalFemur"


def train(run: Run, dataset: Path) -> None:
    """Plan and train the arm."""
    arm, number = ARMS[run.arm], dataset.name[7:10]
    environment = nnunet_environment(run.work / f"seed{run.seed}")
    changes = (f"sampling.labelled_patches={run.size.labelled_patches}", *arm.changes)
    StepRunner(run.network_folder, quiet=True).run([
        Step("plan", "Plan",
             ("femur_plan", "-d", number, "--preset", run.size.preset, "--name", _plan_suffix(run), "--epochs",
              str(run.size.epochs), "--seed", str(run.seed), "--jobs", str(run.jobs), "--quiet",
              *(text for change in changes for text in ("--set", change))), environment),
        Step("train", f"Train {arm.trainer}",
             ("nnUNetv2_train", number, "3d_fullres", "0", "-tr", arm.trainer, "-p", _plans_name(run), "-device",
              run.device),
             {**environment, **({"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"} if run.device == "cpu" else {})},
             bar_pattern=r"Epoch time:", bar_total=run.size.epochs, resume_argument="--c")])


def predict_and_measure(run: Run, dataset: Path, trained: Path) -> None:
    """Predict the tier's test scans with the trained arm and measure the masks, and their largest components."""
    environment = nnunet_environment(run.work / f"seed{run.seed}")
    folder = run.results_folder
    StepRunner(folder, quiet=True).run([
        Step("predict", "Predict the test scans",
             ("nnUNetv2_predict", "-i", str(dataset / "imagesTs"), "-o", str(folder / "raw"), "-d", trained.name[7:10],
              "-c", "3d_fullres", "-f", "0", "-tr", ARMS[run.arm].trainer, "-p", _plans_name(run), "-device",
              run.device, *(("-npp", "0", "-nps", "0") if run.device == "cpu" else ())),
             environment, bar_pattern=r"^Predicting ", bar_total=0)])
    keep_largest_components(folder / "raw", folder / "largest_component")
    for masks in MASKS:
        StepRunner(folder / f"evaluation_{masks}", quiet=True).run([
            Step("evaluate", "Evaluate by site",
                 ("femur_eval", str(folder / masks), str(dataset / "labelsTs"), "--scans", str(dataset / "scans.tsv"),
                  "--source-site", "tulane", "--out", str(folder / f"evaluation_{masks}"), "--arm", run.arm, "--jobs",
                  str(run.jobs), "--quiet"), environment, accepted_codes=(0, 1))])


def case_rows(run: Run, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the measures of every hip, raw masks and largest components."""
    rows = []
    for masks in MASKS:
        with (run.results_folder / f"evaluation_{masks}" / "cases.csv").open(newline="", encoding="utf-8") as handle:
            rows += [{"arm": run.arm, "tier": run.tier, "seed": str(run.seed), "masks": masks,
                      **{column: row[column] for column in columns}} for row in csv.DictReader(handle)]
    return rows


def site_means(run: Run, masks: str, site: str) -> dict[str, float]:
    """Return femur_eval's means over the participants of a site, by metric."""
    with (run.results_folder / f"evaluation_{masks}" / "sites.csv").open(newline="", encoding="utf-8") as handle:
        return {row["metric"]: float(row["mean"]) for row in csv.DictReader(handle)
                if row["site"] == site and row["sex"] == "all"}


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


def _plan_suffix(run: Run) -> str:
    return run.arm.replace("_", "")


def _plans_name(run: Run) -> str:
    preset = "" if run.size.preset == "gpu24" else f"_{run.size.preset}"
    return f"FemurPlans{preset}_{_plan_suffix(run)}"
