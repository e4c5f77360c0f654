"""A growing pool of renderings on disk, in the form that ``convert_qct_sites --manifest`` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from femur_nnunet.command_line import progress, worker_count
from femur_nnunet.errors import UsageError
from femur_nnunet.files import hold_folder, read_json, write_json, write_text
from femur_nnunet.phantom.label_maps import LabelNumbers, list_label_maps, map_name
from femur_nnunet.phantom.map_library import prepared_map
from femur_nnunet.randomised.ranges import ranges_hash
from femur_nnunet.randomised.rendering import RENDERING_SCHEMA, RENDERING_VERSION, render_randomised
from femur_nnunet.randomised.subjects import Subjects
from femur_nnunet.volume_io.writing import write_nifti

POOL_FILE_NAME, MANIFEST_NAME, RECORD_NAME = "pool.json", "manifest.csv", "record.json"
IMAGE_NAME, MASK_NAME = "ct.nii.gz", "femora.nii.gz"
MAP_CACHE_NAME = ".prepared_label_maps"
SITE = "synthetic"
MANIFEST_COLUMNS = ("site", "participant_id", "image", "visit", "mask", "side", "role")
# A case id holds two digits for the visit, which is the rendering's number.
MOST_PER_SUBJECT = 99
# Of a coarse network: training images need be no finer than what it will see.
TRAINING_MM = 2.0


@dataclass(frozen=True)
class PoolSpec:
    """What a pool's renderings follow from; its size is no part of it.

    Attributes
    ----------
    label_maps : Path
        Folder of label maps.
    subjects : Subjects
        Who is used, and for what.
    seed : int
        Seed of every draw.
    finest_mm : float
        Voxels are rendered no finer than this.
    label_numbers : str
        Label numbers that differ from the usual ones.
    fixed : tuple of (str, value)
        Draws that are given instead, as an evaluation by one factor needs them.
    """

    label_maps: Path
    subjects: Subjects
    seed: int = 1
    finest_mm: float = TRAINING_MM
    label_numbers: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()

    def described(self) -> dict[str, Any]:
        """Return what pool.json says; the folder's place is this machine's affair."""
        return {"schema": RENDERING_SCHEMA, "rendering_version": RENDERING_VERSION, "ranges_sha256": ranges_hash(),
                "seed": self.seed, "finest_mm": self.finest_mm, "label_numbers": self.label_numbers,
                "train": list(self.subjects.train), "held_out": list(self.subjects.held_out),
                "fixed": dict(self.fixed)}

    def place(self, index: int) -> tuple[str, int]:
        """Return the subject and number of the index-th rendering: subjects take turns."""
        names = self.subjects.names
        return names[index % len(names)], index // len(names) + 1


@dataclass
class PoolSummary:
    """What lies in the pool, and how much of it was rendered now."""

    manifest: Path
    rows: list[dict[str, str]]
    rendered: int
    without_femur: int


def grow_pool(spec: PoolSpec, count: int, out: Path, *, jobs: int = 1, quiet: bool = False,
              map_cache: Path | None = None) -> PoolSummary:
    """Bring a pool to ``count`` renderings; those that it holds stay as they are.

    Every rendering's record is written last: a run that was stopped goes on where it was. The manifest names
    the first ``count`` renderings that show a femur with a mask.

    Parameters
    ----------
    spec : PoolSpec
        What to render.
    count : int
        Renderings of the pool.
    out : Path
        Its folder.
    jobs : int
        Worker processes; 0 means one for each processor. The bytes do not depend on it.
    quiet : bool
        No progress bar.
    map_cache : Path, optional
        Folder of prepared label maps; in the pool itself where not given.

    Raises
    ------
    UsageError
        Another pool lies in the folder, or the subjects are too few for so many renderings.
    FemurError
        A label map cannot be used.
    """
    names = spec.subjects.names
    if not 0 < count <= MOST_PER_SUBJECT * len(names):
        raise UsageError(f"{count} renderings of {len(names)} subject(s)",
                         expected=f"1 to {MOST_PER_SUBJECT} for each subject, {MOST_PER_SUBJECT * len(names)} in all",
                         action="change --n, or begin another pool with another --seed")
    paths = {map_name(path): path for path in list_label_maps(spec.label_maps, names)}
    cache = map_cache or out / MAP_CACHE_NAME
    with hold_folder(out):
        _refuse_other_pool(out, spec)
        write_json(out / POOL_FILE_NAME, spec.described())
        # All of a subject in a row: a prepared map is large, and each worker keeps only a few.
        places = sorted(spec.place(index) for index in range(count))
        open_places = [place for place in places if not _record_path(out, *place).exists()]
        workers = worker_count(jobs)
        for _ in progress(_run(spec, open_places, paths, out, cache, workers), description="rendering",
                          total=len(open_places), quiet=quiet):
            pass
        rows = [row for place in places if (row := _row(spec, out, *place)) is not None]
        write_text(out / MANIFEST_NAME, _table(rows))
    return PoolSummary(out / MANIFEST_NAME, rows, len(open_places), count - len(rows))


def read_records(out: Path) -> list[dict[str, Any]]:
    """Return the records of a pool's renderings, sorted by subject and number."""
    records = [read_json(path, what="a rendering's record", action="remove its folder and render again")
               for path in out.glob(f"*/*/{RECORD_NAME}")]
    return sorted(records, key=lambda record: (record["subject"], record["number"]))


def _refuse_other_pool(out: Path, spec: PoolSpec) -> None:
    path = out / POOL_FILE_NAME
    if not path.exists():
        return
    present = read_json(path, what="a pool's description", action="choose another --out")
    wanted = spec.described()
    differing = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
    if differing:
        raise UsageError(f"another pool in this folder ({', '.join(differing)} differ)",
                         expected="an empty folder, or the pool of the same seed, subjects and version",
                         action="choose another --out or remove the old pool", subject=str(out))


def _run(spec: PoolSpec, places: Sequence[tuple[str, int]], paths: dict[str, Path], out: Path, cache: Path,
         workers: int) -> Iterator[None]:
    tasks = (joblib.delayed(_write)(spec, subject, number, paths[subject], out, cache) for subject, number in places)
    if workers == 1 or len(places) < 2:
        for function, arguments, options in tasks:
            yield function(*arguments, **options)
        return
    yield from joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)


def _write(spec: PoolSpec, subject: str, number: int, path: Path, out: Path, cache: Path) -> None:
    prepared = prepared_map(path, LabelNumbers.parse(spec.label_numbers), cache)
    rendering = render_randomised(prepared, seed=spec.seed, number=number, finest_mm=spec.finest_mm,
                                  fixed=dict(spec.fixed))
    record_path = _record_path(out, subject, number)
    record_path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(record_path.with_name(IMAGE_NAME), rendering.hu, rendering.grid)
    # A mask of one side holds 0 and 1, whichever side it is.
    one_side = rendering.record["field"] != "pelvis"
    write_nifti(record_path.with_name(MASK_NAME), np.minimum(rendering.mask, 1) if one_side else rendering.mask,
                rendering.grid)
    write_json(record_path, {**rendering.record, "role": spec.subjects.role(subject)})


def _record_path(out: Path, subject: str, number: int) -> Path:
    return out / subject / f"v{number:02d}" / RECORD_NAME


def _row(spec: PoolSpec, out: Path, subject: str, number: int) -> dict[str, str] | None:
    """Return a rendering's row, None where no femur in it has a mask: the converter would take it for unlabelled."""
    path = _record_path(out, subject, number)
    record = read_json(path, what="a rendering's record", action="remove its folder and run the command again")
    if not record["femur_ml"]:
        return None
    folder = path.parent.relative_to(out)
    side = {"left hip": "left", "right hip": "right"}.get(record["field"], "both")
    return {"site": SITE, "participant_id": subject, "image": (folder / IMAGE_NAME).as_posix(), "visit": str(number),
            "mask": (folder / MASK_NAME).as_posix(), "side": side, "role": spec.subjects.role(subject)}


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, MANIFEST_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
