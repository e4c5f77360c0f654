"""Write a synthetic two-site cohort as real files with metadata tables and truth."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from femur_nnunet.command_line import progress, worker_count
from femur_nnunet.errors import UsageError
from femur_nnunet.files import hold_folder, read_json, write_json, write_text
from femur_nnunet.phantom.anatomy import draw_participant
from femur_nnunet.phantom.anatomy_file import anatomy_hash, load_anatomy
from femur_nnunet.phantom.calibration import PHANTOM_NAMES
from femur_nnunet.phantom.cohort_maps import described, planned_map, prepare_planned_maps
from femur_nnunet.phantom.cohort_plan import (
    KIT_VERSION,
    SITE_UNITS,
    SITES,
    CohortSpec,
    ImageForm,
    PlannedScan,
    plan_scans,
)
from femur_nnunet.phantom.dicom_writing import SeriesIdentity, write_dicom_series
from femur_nnunet.phantom.mapped_bones import with_bones_of
from femur_nnunet.phantom.pose import draw_pose
from femur_nnunet.phantom.render import RenderedScan, render_scan
from femur_nnunet.phantom.scan_grid import SCAN_SIZES
from femur_nnunet.phantom.tiers import tier_hash
from femur_nnunet.phantom.truth import TRUTH_SCHEMA

METADATA_NAME = "metadata.csv"
COHORT_FILE_NAME = "cohort.json"
_STARTED_FILE_NAME = ".cohort_started.json"
_MAP_CACHE_NAME = ".prepared_label_maps"
# Visits are numbered from 1, so that this stream of random numbers is a participant's own.
_WARP_STREAM = 0
METADATA_COLUMNS = ("site", "participant_id", "image", "visit", "mask", "side", "sex", "age_years", "role",
                    "density_unit", "density_slope", "density_intercept", "calibration_phantom")


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


def write_cohort(spec: CohortSpec, out: Path, *, jobs: int = 1, quiet: bool = False) -> CohortSummary:
    """Render a cohort and write it below ``out``: a folder for each site.

    Each site folder holds metadata.csv, a folder for each scan and ``truth/``. The tables are written
    last, so that a run that was stopped leaves none; the same call goes on where it stopped. A folder that
    holds exactly this cohort is kept.

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
    FemurError
        A label map cannot be used; nothing of the cohort is written then.
    TargetBusyError
        Another run writes into ``out``.
    """
    plan = plan_scans(spec)
    content: dict[str, Any] = {"schema": TRUTH_SCHEMA, "kit_version": KIT_VERSION, "spec": asdict(spec),
                               "tiers_sha256": tier_hash(), "anatomy_sha256": anatomy_hash()}
    # The folder's place is this machine's affair; what lies in it is the cohort's.
    content["spec"].pop("label_maps")
    content["label_maps"] = described(spec, plan) if spec.label_maps is not None else None
    metadata = {site: out / site / METADATA_NAME for site in SITES}
    summary = CohortSummary(out, {str(site): path for site, path in metadata.items()}, len(plan),
                            len({scan.participant_id for scan in plan}), tier_hash())
    with hold_folder(out):
        _refuse_other_cohort(out, content)
        if (out / COHORT_FILE_NAME).exists():
            summary.reused = True
            summary.rows = {site: _read_rows(path) for site, path in metadata.items()}
            return summary
        if spec.label_maps is not None:
            prepare_planned_maps(spec, plan, out / _MAP_CACHE_NAME, jobs=worker_count(jobs), quiet=quiet)
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
        shutil.rmtree(out / _MAP_CACHE_NAME, ignore_errors=True)
    return summary


@threadpool_limits.wrap(limits=1, user_api="blas")
def render_planned(spec: CohortSpec, scan: PlannedScan, *, map_cache: Path | None = None) -> RenderedScan:
    """Render one scan of a cohort in memory, exactly as :func:`write_cohort` writes it.

    With one thread of linear algebra: the last bits of a matrix product depend on their number, which differs between
    a command and its workers, and a voxel in a million would then be rounded to another HU.

    Parameters
    ----------
    spec, scan
        The cohort and one of its scans.
    map_cache : Path, optional
        Folder in which prepared label maps are kept for other processes.
    """
    tiers = spec.tiers(scan.site)
    site_index = SITES.index(scan.site)
    participant = draw_participant(scan.sex, tiers.population,
                                   np.random.default_rng([spec.seed, site_index, scan.number]),
                                   years_later=scan.years_since_first)
    if scan.label_map is not None:
        participant = with_bones_of(participant, planned_map(spec, scan.label_map, map_cache), load_anatomy(),
                                    np.random.default_rng([spec.seed, site_index, scan.number, _WARP_STREAM]),
                                    bone_size_factor=tiers.population.bone_size_factor)
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
    """Render and write one scan and return its row; the truth, written last, says that a scan is complete."""
    site_folder = out / scan.site
    truth_path = site_folder / "truth" / f"{scan.participant_id}_v{scan.visit:02d}.json"
    if truth_path.exists():
        row: dict[str, str] = read_json(truth_path, what="a scan's truth", action="remove it")["metadata_row"]
        return row
    rendered = render_planned(spec, scan, map_cache=out / _MAP_CACHE_NAME)
    scanner = spec.tiers(scan.site).scanner
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
    row = {
        "site": scan.site, "participant_id": scan.participant_id, "image": image.as_posix(),
        "visit": str(scan.visit), "mask": mask, "side": "both", "sex": scan.sex,
        "age_years": str(person["age_years"]), "role": scan.role,
        "density_unit": rendered.rods.unit, "density_slope": f"{rendered.density_slope:.6f}",
        "density_intercept": f"{rendered.density_intercept:.4f}",
        "calibration_phantom": PHANTOM_NAMES[rendered.rods.unit],
    }
    _write_truth(spec, scan, rendered, truth_path, row)
    return row


def _write_volume(path: Path, array: Any, rendered: RenderedScan, form: ImageForm) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(rendered.grid.spacing_mm_ijk)
    image.SetOrigin(rendered.grid.origin_mm_lps)
    image.SetDirection(rendered.grid.direction)
    if form == "nifti_ras":
        image = sitk.DICOMOrient(image, "RAS")
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_truth(spec: CohortSpec, scan: PlannedScan, rendered: RenderedScan, path: Path,
                 row: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    regions = path.with_name(f"{path.stem}_regions.nii.gz")
    _write_volume(regions, rendered.regions, rendered, "nifti")
    tiers = ({axis: "none" for axis in ("scanner", "population", "positioning")} if scan.site == "tulane" else
             {"scanner": spec.scanner_tier, "population": spec.population_tier,
              "positioning": spec.positioning_tier})
    write_json(path, {
        "schema": TRUTH_SCHEMA, "site": scan.site, "participant_id": scan.participant_id,
        "visit": scan.visit, "years_since_first": scan.years_since_first, "seed": spec.seed, "tiers": tiers,
        "tiers_sha256": tier_hash(), "scanner": asdict(spec.tiers(scan.site).scanner),
        "slice_thickness_mm": rendered.slice_thickness_mm, "region_map": regions.name, "metadata_row": row,
        **rendered.truth})


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, METADATA_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
