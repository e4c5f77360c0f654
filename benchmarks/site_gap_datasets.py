"""Datasets of the site gap benchmark: the synthetic cohort of a tier, and what an arm makes of it before training."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from site_gap_arms import ARMS, TIERS, Run

from femur_nnunet.drivers.steps import Step, StepRunner
from femur_nnunet.env_command import nnunet_environment
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.phantom.cohort_plan import KIT_VERSION
from femur_nnunet.phantom.tiers import tier_hash

_FIRST_DATASET = 510
_PLAIN, _ORACLE, _MATCHED, _ADDED, _ONLY = 0, 10, 20, 30, 40
# As in ITK's own example of this filter.
_HISTOGRAM_LEVELS, _MATCH_POINTS = 1024, 7
# The network sees 3 mm: a finer rendering would show it nothing more.
_RENDERED_MM = 3


def make_cohort(run: Run, tier: str, *, oracle: bool) -> Path:
    """Render and convert one tier's cohort and return its dataset in nnUNet_raw."""
    sites = _sites(run, tier)
    unlabelled = () if oracle else ("--unlabelled-site", "rochester")
    return _convert(run, tier, _ORACLE if oracle else _PLAIN, (*_both(sites), *unlabelled))


def make_training_dataset(run: Run) -> Path:
    """Return the dataset that an arm is trained on: the cohort of its tier, or what the arm makes of it.

    Raises
    ------
    UsageError
        The arm needs renderings and no label maps were given.
    """
    arm, tier = ARMS[run.arm], run.trained_tier
    if arm.matches_histograms:
        return _matched(run, make_cohort(run, tier, oracle=False), tier)
    if arm.renderings == "none":
        return make_cohort(run, tier, oracle=arm.oracle)
    if run.rendered_maps is None:
        raise UsageError(f"no label maps for the arm {run.arm}", expected="a folder of label maps to render",
                         action="give --rendered-maps DIR")
    pool = run.root / "renderings"
    StepRunner(run.root / "cohorts" / "renderings", quiet=True).run([
        Step("renderings", "Render label maps",
             ("femur_renderings", "--label-maps", str(run.rendered_maps), "--n", str(run.size.renderings), "--finest",
              str(_RENDERED_MM), "--seed", str(run.seed), "--out", str(pool), "--jobs", str(run.jobs), "--quiet"),
             nnunet_environment(run.root))])
    manifest = ("--manifest", str(pool / "manifest.csv"))
    if arm.renderings == "only":
        return _convert(run, tier, _ONLY, manifest)
    return _convert(run, tier, _ADDED, (*_both(_sites(run, tier)), "--unlabelled-site", "rochester", *manifest))


def match_histograms(source: Path, target: Path, seed: int) -> None:
    """Write a dataset whose labelled training images have the histogram of one unlabelled image each.

    Which one is drawn by ``seed``. Values below an image's mean, its air, take no part in the match
    (Nyul and Udupa 1999, as ITK has it). All other files are those of ``source``.

    Parameters
    ----------
    source, target : Path
        Folders of nnUNet_raw; ``target`` appears when it is whole.
    """
    staging = target.with_name(f".staging_{target.name}")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source, staging, copy_function=os.link)
    references = sorted((source / "imagesUn").glob("*.nii.gz"))
    generator = np.random.default_rng(seed)
    for path in sorted((staging / "imagesTr").glob("*.nii.gz")):
        image, reference = (sitk.ReadImage(str(file), sitk.sitkFloat32) for file in (
            path, references[generator.integers(len(references))]))
        matched = sitk.HistogramMatching(image, reference, _HISTOGRAM_LEVELS, _MATCH_POINTS, True)
        # A link to the source's file: it must not be written through.
        path.unlink()
        sitk.WriteImage(sitk.Cast(sitk.Round(matched), sitk.sitkInt16), str(path), useCompression=True)
    staging.replace(target)


def _matched(run: Run, source: Path, tier: str) -> Path:
    target = source.with_name(_dataset_name(tier, _MATCHED))
    if not target.exists():
        match_histograms(source, target, run.seed)
    return target


def require_own_cohorts(root: Path) -> None:
    """Refuse a work folder whose cohorts were rendered with other tiers or another kit: finished steps know neither.

    Raises
    ------
    FemurError
        They were, or nothing says with which.
    """
    record, own = root / "cohorts_made_with.txt", f"kit {KIT_VERSION}, tiers {tier_hash()}"
    if not record.exists() and not (root / "sites").exists():
        root.mkdir(parents=True, exist_ok=True)
        record.write_text(own + "\n", encoding="utf-8")
    found = record.read_text(encoding="utf-8").strip() if record.exists() else "nothing known"
    if found != own:
        raise FemurError(f"cohorts of {found}", expected=own, action="give an empty --work folder", subject=str(root))


def _sites(run: Run, tier: str) -> Path:
    require_own_cohorts(run.root)
    size, sites = run.size, run.root / "sites" / tier
    counts = {"--n-tulane": size.train_tulane + size.test_tulane, "--n-test-tulane": size.test_tulane,
              "--n-rochester": size.train_rochester + size.test_rochester, "--n-test-rochester": size.test_rochester}
    labels = ("--label-maps", str(run.label_maps)) if run.label_maps else ()
    StepRunner(run.root / "cohorts" / tier, quiet=True).run([
        Step("phantom", "Render the cohort",
             ("femur_phantom", "--out", str(sites), "--preset", "demo", "--tier", tier, "--seed", str(run.seed),
              *(text for name, count in counts.items() for text in (name, str(count))), *labels, "--jobs",
              str(run.jobs), "--quiet"), nnunet_environment(run.root))])
    return sites


def _both(sites: Path) -> tuple[str, ...]:
    return "--tulane", str(sites / "tulane"), "--rochester", str(sites / "rochester")


def _convert(run: Run, tier: str, kind: int, inputs: tuple[str, ...]) -> Path:
    name = _dataset_name(tier, kind)
    number, raw = name[7:10], run.root / "nnUNet_raw"
    StepRunner(run.root / "cohorts" / f"{tier}_{number}", quiet=True).run([
        Step("convert", "Convert it",
             ("convert_qct_sites", *inputs, "--out", str(raw), "--dataset-id", number, "--key-seed",
              str(run.seed), "--jobs", str(run.jobs), "--quiet"), nnunet_environment(run.root),
             accepted_codes=(0, 1))])
    return raw / name


def _dataset_name(tier: str, kind: int) -> str:
    return f"Dataset{_FIRST_DATASET + TIERS.index(tier) + kind}_ProximalFemur"
