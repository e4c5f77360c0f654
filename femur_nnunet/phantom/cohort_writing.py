"""Write a synthetic two-site cohort as real files with metadata tables and truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import SimpleITK as sitk

from femur_nnunet.command_line import progress, worker_count
from femur_nnunet.errors import UsageError
from femur_nnunet.files import hold_folder, read_json, write_json, write_text
from femur_nnunet.phantom.anatomy import Sex, draw_participant
from femur_nnunet.phantom.calibration import PHANTOM_NAMES, DensityUnit
from femur_nnunet.phantom.dicom_writing import SeriesIdentity, write_dicom_series
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.render import RenderedScan, render_scan
from femur_nnunet.phantom.scan_grid import SCAN_SIZES, SizeName
from femur_nnunet.phantom.tiers import TIER_NAMES, SiteTiers, TierName, load_tiers, tier_hash
from femur_nnunet.phantom.truth import TRUTH_SCHEMA

SiteName = Literal["tulane", "rochester"]
ImageForm = Literal["dicom", "nifti", "nifti_ras", "metaimage"]
SITES: tuple[SiteName, SiteName] = ("tulane", "rochester")
SITE_UNITS: dict[SiteName, DensityUnit] = {"tulane": "K2HPO4", "rochester": "HA"}
METADATA_NAME = "metadata.csv"
COHORT_FILE_NAME = "cohort.json"
_STARTED_FILE_NAME = ".cohort_started.json"
METADATA_COLUMNS = ("site", "participant_id", "image", "visit", "mask", "side", "sex", "age_years", "role",
                    "density_unit", "density_slope", "density_intercept", "calibration_phantom")
_PREFIX: dict[SiteName, str] = {"tulane": "TU", "rochester": "RO"}
_FORMS: dict[SiteName, tuple[ImageForm, ...]] = {"tulane": ("dicom", "nifti", "dicom", "nifti_ras"),
                                                 "rochester": ("metaimage", "dicom")}


@dataclass(frozen=True)
class CohortSpec:
    """What a cohort shall be; the same spec gives the same bytes.

    Attributes
    ----------
    n_tulane, n_rochester : int
        Participants of each site, test participants included.
    n_test_tulane, n_test_rochester : int
        Participants whose role is ``test``.
    scanner_tier, population_tier, positioning_tier : {"none", "mild", "moderate", "severe"}
        Where Rochester lies on each axis of the shift; Tulane is the source (``none``).
    seed : int
        Seed of every random choice; 1-19 are kept for results, 100-199 for tuning.
    size : {"tiny", "small", "full"}
        Matrix and spacing.
    share_women : float
        Share of women at each site, rounded to whole participants.
    unlabelled_share_tulane, unlabelled_share_rochester : float
        Share of the training participants for whom no mask is written. Test scans always have one.
    second_visit_share : float
        Share of participants scanned twice: same anatomy, new position and noise.
    """

    n_tulane: int = 16
    n_rochester: int = 12
    n_test_tulane: int = 4
    n_test_rochester: int = 4
    scanner_tier: TierName = "moderate"
    population_tier: TierName = "moderate"
    positioning_tier: TierName = "moderate"
    seed: int = 1
    size: SizeName = "small"
    share_women: float = 0.5
    unlabelled_share_tulane: float = 0.0
    unlabelled_share_rochester: float = 0.0
    second_visit_share: float = 0.0

    def __post_init__(self) -> None:
        for site in SITES:
            if not 0 <= self.count(site, test=True) <= self.count(site):
                raise UsageError(f"{self.count(site, test=True)} test participants of {self.count(site)} "
                                 f"at {site}", expected="between none and all",
                                 action=f"change --n-test-{site}")
        for name in ("scanner_tier", "population_tier", "positioning_tier"):
            if getattr(self, name) not in TIER_NAMES:
                raise UsageError(f"{name} {getattr(self, name)!r}", expected=" or ".join(TIER_NAMES),
                                 action="choose one of them")
        if self.size not in SCAN_SIZES:
            raise UsageError(f"size {self.size!r}", expected=" or ".join(SCAN_SIZES),
                             action="choose one of them for --size")
        for name in ("share_women", "unlabelled_share_tulane", "unlabelled_share_rochester",
                     "second_visit_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} {getattr(self, name)}", expected="a share from 0 to 1",
                                 action="change it")

    def count(self, site: SiteName, *, test: bool = False) -> int:
        """Return the number of participants of a site, or of its test participants."""
        if site == "tulane":
            return self.n_test_tulane if test else self.n_tulane
        return self.n_test_rochester if test else self.n_rochester

    def tiers(self, site: SiteName) -> SiteTiers:
        """Return scanner, population and positioning of a site."""
        if site == "tulane":
            return load_tiers()
        return load_tiers(scanner=self.scanner_tier, population=self.population_tier,
                          positioning=self.positioning_tier)


PRESETS: dict[str, CohortSpec] = {
    "demo": CohortSpec(),
    "tiny": CohortSpec(n_tulane=4, n_rochester=4, n_test_tulane=1, n_test_rochester=1, size="tiny"),
}
"""Named cohorts. Tier ``moderate`` means moderate on all three axes."""


@dataclass(frozen=True)
class PlannedScan:
    """One scan of the cohort before it is rendered."""

    site: SiteName
    number: int
    visit: int
    sex: Sex
    role: Literal["train", "test"]
    labelled: bool
    form: ImageForm

    @property
    def participant_id(self) -> str:
        """``TU0001``, ``RO0001`` and so on."""
        return f"{_PREFIX[self.site]}{self.number:04d}"


@dataclass
class CohortSummary:
    """What was written.

    Attributes
    ----------
    folder : Path
        Where the cohort lies.
    metadata : dict
        Path of each site's metadata.csv.
    scans, participants : int
        Totals over both sites.
    tier_sha256 : str
        Hash of the tiers file.
    reused : bool
        The folder already held exactly this cohort and nothing was rendered.
    rows : dict
        The metadata rows by site.
    """

    folder: Path
    metadata: dict[str, Path]
    scans: int
    participants: int
    tier_sha256: str
    reused: bool = False
    rows: dict[str, list[dict[str, str]]] = field(default_factory=dict)


def plan_scans(spec: CohortSpec) -> list[PlannedScan]:
    """Lay out the cohort: who is a woman, who is in the test set, who has no mask, who comes twice.

    Test participants are taken from women and men in turn, so that both are in each site's test set.
    """
    scans = []
    for index, site in enumerate(SITES):
        rng = np.random.default_rng([spec.seed, index])
        count = spec.count(site)
        women = round(spec.share_women * count)
        order = rng.permutation(count)
        sexes: list[Sex] = ["M"] * count
        for position in order[:women]:
            sexes[position] = "F"
        by_sex = [[p for p in rng.permutation(count) if sexes[p] == sex] for sex in ("F", "M")]
        queue = _in_turn(by_sex[0], by_sex[1])
        test = set(queue[:spec.count(site, test=True)])
        training = [p for p in queue if p not in test]
        share = spec.unlabelled_share_tulane if site == "tulane" else spec.unlabelled_share_rochester
        unlabelled = set(training[:round(share * len(training))])
        twice = set(rng.permutation(count)[:round(spec.second_visit_share * count)].tolist())
        for position in range(count):
            for visit in (1, 2) if position in twice else (1,):
                form = _FORMS[site][(position + visit - 1) % len(_FORMS[site])]
                scans.append(PlannedScan(site, position + 1, visit, sexes[position],
                                         "test" if position in test else "train",
                                         position not in unlabelled, form))
    return scans


def write_cohort(spec: CohortSpec, out: Path, *, jobs: int = 1, quiet: bool = False) -> CohortSummary:
    """Render a cohort and write it below ``out``: a folder for each site.

    Each site folder holds metadata.csv, a folder for each scan and ``truth/``. The tables are written
    last, so that a run that was stopped leaves none. A folder that holds exactly this cohort is kept.

    Parameters
    ----------
    spec : CohortSpec
        What to render.
    out : Path
        Folder for both sites.
    jobs : int
        Worker processes; 0 means one for each processor. The bytes do not depend on it.
    quiet : bool
        No progress bar.

    Raises
    ------
    UsageError
        ``out`` holds another cohort.
    TargetBusyError
        Another run writes into ``out``.
    """
    plan = plan_scans(spec)
    content = {"schema": TRUTH_SCHEMA, "spec": asdict(spec), "tiers_sha256": tier_hash()}
    metadata = {site: out / site / METADATA_NAME for site in SITES}
    summary = CohortSummary(out, {str(site): path for site, path in metadata.items()}, len(plan),
                            len({scan.participant_id for scan in plan}), tier_hash())
    with hold_folder(out):
        _refuse_other_cohort(out, content)
        if (out / COHORT_FILE_NAME).exists():
            summary.reused = True
            summary.rows = {site: _read_rows(path) for site, path in metadata.items()}
            return summary
        write_json(out / _STARTED_FILE_NAME, content)
        finished: list[dict[str, str]] = []
        for row in progress(_run(spec, plan, out, worker_count(jobs)), description="rendering scans",
                            total=len(plan), quiet=quiet):
            finished.append(row)
        for site in SITES:
            rows = [row for row in finished if row["site"] == site]
            summary.rows[site] = rows
            (out / site).mkdir(exist_ok=True)
            write_text(metadata[site], _table(rows))
        write_json(out / COHORT_FILE_NAME, content)
        (out / _STARTED_FILE_NAME).unlink()
    return summary


def render_planned(spec: CohortSpec, scan: PlannedScan) -> RenderedScan:
    """Render one scan of a cohort in memory, exactly as :func:`write_cohort` writes it."""
    tiers = spec.tiers(scan.site)
    site_index = SITES.index(scan.site)
    participant = draw_participant(scan.sex, tiers.population,
                                   np.random.default_rng([spec.seed, site_index, scan.number]))
    scan_rng = np.random.default_rng([spec.seed, site_index, scan.number, scan.visit])
    pose = draw_pose(tiers.positioning, scan_rng)
    return render_scan(participant, pose, tiers.scanner, unit=SITE_UNITS[scan.site],
                       size=SCAN_SIZES[spec.size], noise_seed=int(scan_rng.integers(2 ** 63)))


def _refuse_other_cohort(out: Path, content: dict[str, Any]) -> None:
    """Refuse a folder with another cohort, finished or begun: their DICOM files would lie side by side."""
    for name in (COHORT_FILE_NAME, _STARTED_FILE_NAME):
        if (out / name).exists() and read_json(out / name, what="a cohort's description",
                                               action="choose another --out") != content:
            raise UsageError("another synthetic cohort in this folder", expected="an empty folder",
                             action="choose another --out or remove the old cohort", subject=str(out))


def _run(spec: CohortSpec, plan: list[PlannedScan], out: Path, workers: int) -> Iterator[dict[str, str]]:
    if workers == 1:
        for scan in plan:
            yield _write_scan(spec, scan, out)
        return
    tasks = (joblib.delayed(_write_scan)(spec, scan, out) for scan in plan)
    yield from joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)


def _write_scan(spec: CohortSpec, scan: PlannedScan, out: Path) -> dict[str, str]:
    rendered = render_planned(spec, scan)
    scanner = spec.tiers(scan.site).scanner
    site_folder = out / scan.site
    folder = Path(scan.participant_id) / f"v{scan.visit:02d}"
    (site_folder / folder).mkdir(parents=True, exist_ok=True)
    person = rendered.truth["participant"]
    if scan.form == "dicom":
        image = folder / "dicom"
        identity = SeriesIdentity(f"SYNTHETIC^{scan.number:04d}", scan.participant_id, scan.sex,
                                  person["age_years"], f"{spec.seed}/{scan.participant_id}/{scan.visit}")
        write_dicom_series(site_folder / image, rendered.hu, rendered.grid, scanner, identity,
                           slice_thickness_mm=rendered.slice_thickness_mm,
                           series_description=f"HIP QCT {scanner.kernel}")
    else:
        image = folder / ("ct.mha" if scan.form == "metaimage" else "ct.nii.gz")
        _write_volume(site_folder / image, rendered.hu, rendered, scan.form)
    mask = ""
    if scan.labelled:
        # Every third Rochester mask is a NIfTI beside an image of another format.
        as_mha = scan.site == "rochester" and scan.number % 3 != 0
        mask = (folder / ("femora.mha" if as_mha else "femora.nii.gz")).as_posix()
        _write_volume(site_folder / mask, rendered.mask, rendered, scan.form)
    _write_truth(spec, scan, rendered, site_folder / "truth")
    return {
        "site": scan.site, "participant_id": scan.participant_id, "image": image.as_posix(),
        "visit": str(scan.visit), "mask": mask, "side": "both", "sex": scan.sex,
        "age_years": str(person["age_years"]), "role": scan.role,
        "density_unit": rendered.rods.unit, "density_slope": f"{rendered.density_slope:.6f}",
        "density_intercept": f"{rendered.density_intercept:.4f}",
        "calibration_phantom": PHANTOM_NAMES[rendered.rods.unit],
    }


def _write_volume(path: Path, array: Any, rendered: RenderedScan, form: ImageForm) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(rendered.grid.spacing_mm_ijk)
    image.SetOrigin(rendered.grid.origin_mm_lps)
    image.SetDirection(rendered.grid.direction)
    if form == "nifti_ras":
        image = sitk.DICOMOrient(image, "RAS")
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_truth(spec: CohortSpec, scan: PlannedScan, rendered: RenderedScan, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{scan.participant_id}_v{scan.visit:02d}"
    tiers = ({axis: "none" for axis in ("scanner", "population", "positioning")} if scan.site == "tulane" else
             {"scanner": spec.scanner_tier, "population": spec.population_tier,
              "positioning": spec.positioning_tier})
    write_json(folder / f"{stem}.json", {
        "schema": TRUTH_SCHEMA, "site": scan.site, "participant_id": scan.participant_id,
        "visit": scan.visit, "seed": spec.seed, "tiers": tiers, "tiers_sha256": tier_hash(),
        "scanner": asdict(spec.tiers(scan.site).scanner), "slice_thickness_mm": rendered.slice_thickness_mm,
        "region_map": f"{stem}_regions.nii.gz", **rendered.truth})
    _write_volume(folder / f"{stem}_regions.nii.gz", rendered.regions, rendered, "nifti")


def _in_turn(first: list[int], second: list[int]) -> list[int]:
    """Return the members of both lists, one of each in turn, then the rest of the longer one."""
    common = min(len(first), len(second))
    mixed = [item for pair in zip(first[:common], second[:common], strict=True) for item in pair]
    return mixed + first[common:] + second[common:]


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, METADATA_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
