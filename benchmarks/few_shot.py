"""What the model in the box is worth to a hospital with few labelled scans: trained from its weights, and from scratch.

    python benchmarks/few_shot.py --work DIR --shots 5 10 20

The hospital is Rochester of the kit's moderate tier, anatomy analytic: nothing of it was in the model's
training. N participants, both hips, are labelled; 10 others are the test. Both ways take the same plan, patches
and number of steps; the model as it is, without any training there, is a row too. Finished steps are not
repeated.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from bench_support import RESULTS, publish

from femur_nnunet.drivers.box_model import SIZES, TRAINER, plan_options, plans_name
from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.evaluation.case_status import CaseStatus
from femur_nnunet.evaluation.case_table import CASES_NAME, read_cases
from femur_nnunet.evaluation.participants import participant_means
from femur_nnunet.files import sha256_of_file
from femur_nnunet.phantom.tiers import tier_hash
from femur_nnunet.segmentation.model import box_model_path

TEST, MOST = 10, 20
SITE = "rochester"
FIRST_DATASET = 540
METRICS = ("dice", "hd95_mm", "assd_mm")
WAYS = ("from the box", "from scratch")
AS_IT_IS = "the box as it is"
# Windows overlap by a quarter in place of half, for all ways alike: less than a third of the time, which on two cores
# was half a minute a hip.
WINDOW_STEP = "0.75"
STEPS_OF_AN_EPOCH = SIZES["small"].iterations_per_epoch


@dataclass(frozen=True)
class Hospital:
    """Cohort, work folder and how it is computed."""

    work: Path
    model: Path
    seed: int
    epochs: int
    jobs: int
    device: str

    @property
    def environment(self) -> dict[str, str]:
        """nnU-Net's folders, and no worker processes on a CPU."""
        alone = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"} if self.device == "cpu" else {}
        return {**nnunet_environment(self.work), **alone}

    @property
    def box_name(self) -> str:
        """Folder of the exported bundle: another bundle is another folder."""
        return f"box_{sha256_of_file(self.model)[:12]}"

    def named(self, way: str) -> str:
        """What folders of one way are called: other numbers of steps, or other weights to start from, lie apart."""
        start = "" if way == WAYS[1] else f"_{self.box_name}"
        return f"{way.replace(' ', '_')}{start}_{self.epochs}epochs"

    def render(self) -> Path:
        """Render the cohort and return the folder of its sites."""
        sites = self.work / "sites"
        StepRunner(self.work, quiet=False).run([
            Step("phantom", "Render the cohort",
                 ("femur_phantom", "--out", str(sites), "--preset", "demo", "--tier", "moderate", "--seed",
                  str(self.seed), "--n-tulane", "2", "--n-test-tulane", "1", "--n-rochester", str(MOST + TEST),
                  "--n-test-rochester", str(TEST), "--jobs", str(self.jobs)), self.environment)])
        return sites

    def convert(self, sites: Path, shots: int) -> Path:
        """Convert the first ``shots`` training participants and the test, and return the dataset."""
        with (sites / SITE / "metadata.csv").open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        train = sorted({row["participant_id"] for row in rows if row["role"] != "test"})[:shots]
        # One visit each: the second ones of a few would weigh them twice.
        chosen = [row for row in rows if (row["role"] == "test" or row["participant_id"] in train)
                  and row["visit"] in ("", "1")]
        manifest = sites / SITE / f"manifest_{shots}.csv"
        with manifest.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(chosen)
        number, name = str(FIRST_DATASET + shots), f"Shots{shots}"
        StepRunner(self.work / name, quiet=False).run([
            Step("convert", f"Convert {shots} labelled scans and the test",
                 ("convert_qct_sites", "--manifest", str(manifest), "--key-seed", "1", "--seed", str(self.seed),
                  "--out", str(self.work / "nnUNet_raw"), "--dataset-id", number, "--dataset-name", name, "--jobs",
                  str(self.jobs)), self.environment, accepted_codes=(0, 1)),
            Step("plan", "Plan as the box model was planned",
                 ("femur_plan", "-d", number, *plan_options(replace(SIZES["small"], epochs=self.epochs)), "--seed",
                  str(self.seed), "--jobs", str(self.jobs)), self.environment)])
        return self.work / "nnUNet_raw" / f"Dataset{number}_{name}"

    def exported(self) -> Path:
        """The box model as nnU-Net has it: the folder of its fold."""
        folder = self.work / self.box_name
        StepRunner(self.work / f"export_{self.box_name}", quiet=True).run([
            Step("export", "The box model as nnU-Net has it",
                 ("femur_model", "export-nnunet", str(self.model), "--out", str(folder)), self.environment)])
        return next(folder.rglob("plans.json")).parent

    def train(self, dataset: Path, way: str) -> Path:
        """Train one way and return the folder of its results."""
        number, plans = dataset.name[7:10], plans_name(SIZES["small"])
        environment = {**self.environment,
                       "nnUNet_results": str(self.work / f"results_{self.named(way)}")}
        weights: tuple[str, ...] = ()
        folder = self.work / f"{dataset.name}_{self.named(way)}"
        if way == WAYS[0]:
            weights = ("-pretrained_weights", str(next(self.exported().rglob("checkpoint_final.pth"))))
        StepRunner(folder, quiet=False).run([
            Step("train", f"{dataset.name}: train {way}",
                 ("nnUNetv2_train", number, "3d_fullres", "all", "-tr", TRAINER, "-p", plans, "-device", self.device,
                  *weights), environment, bar_pattern=r"Epoch time:", bar_total=self.epochs)])
        return Path(environment["nnUNet_results"]) / dataset.name / f"{TRAINER}__{plans}__3d_fullres"

    def measure(self, dataset: Path, model: Path, name: str) -> dict[str, float]:
        """Predict and evaluate the test and return means over participants."""
        folder = self.work / f"{dataset.name}_{self.named(name)}_test"
        StepRunner(folder, quiet=False).run([
            Step("predict", f"{name}: predict the test",
                 ("nnUNetv2_predict_from_modelfolder", "-i", str(dataset / "imagesTs"), "-o", str(folder / "masks"),
                  "-m", str(model), "-f", "all", "-device", self.device, "-npp", "1", "-nps", "1",
                  "-step_size", WINDOW_STEP),
                 self.environment, bar_pattern=r"^Predicting "),
            Step("evaluate", "Evaluate",
                 ("femur_eval", str(folder / "masks"), str(dataset / "labelsTs"), "--scans", str(dataset / "scans.tsv"),
                  "--out", str(folder / "evaluation"), "--arm", name.replace(" ", "_"), "--jobs", str(self.jobs)),
                 self.environment, accepted_codes=(0, 1))])
        cases = read_cases(folder / "evaluation" / CASES_NAME)
        # A missed femur has no distance: it counts as missed, and its Dice of 0 in the mean.
        means = {metric: list(participant_means(cases, metric).values()) for metric in METRICS}
        return {"participants": len({case.participant_id for case in cases}), "hips": len(cases),
                "missed": sum(case.status is CaseStatus.MISSED for case in cases),
                **{f"{metric}_{name}": round(of(values), 4) for metric, values in means.items()
                   for name, of in (("mean", statistics.fmean), ("sd", statistics.stdev))}}


def main() -> None:
    """Run what is not done and publish the table."""
    parser = argparse.ArgumentParser(description="Few labelled scans, from the box model's weights and from scratch.")
    parser.add_argument("--work", type=Path, required=True, help="folder for cohort, networks and masks")
    parser.add_argument("--model", type=Path, help="model bundle (default: the model in the box)")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10, 20], help="labelled (default: 5 10 20)")
    parser.add_argument("--epochs", type=int, default=4, help="of 50 steps each (default: 4)")
    parser.add_argument("--seed", type=int, default=3, help="of cohort and training (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--device", default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV")
    options = parser.parse_args()
    hospital = Hospital(options.work.resolve(), options.model or box_model_path(), options.seed, options.epochs,
                        options.jobs, options.device)
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    sites, rows = hospital.render(), []
    source = {"tiers_sha256": tier_hash()[:12], "bundle_sha256": sha256_of_file(hospital.model)[:12],
              "seed": options.seed}
    for number, shots in enumerate(options.shots):
        dataset = hospital.convert(sites, shots)
        if number == 0:
            rows.append({"shots": 0, "way": AS_IT_IS, "steps": 0,
                         **hospital.measure(dataset, hospital.exported(), AS_IT_IS), **source})
            publish("few_shot.csv", rows, options.out, threads=threads)
        for way in WAYS:
            rows.append({"shots": shots, "way": way, "steps": STEPS_OF_AN_EPOCH * options.epochs,
                         **hospital.measure(dataset, hospital.train(dataset, way), way), **source})
            publish("few_shot.csv", rows, options.out, threads=threads)


if __name__ == "__main__":
    main()
