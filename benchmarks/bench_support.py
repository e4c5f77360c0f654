"""What the benchmarks share: masks of a femur in a whole scan, timing in turn, and a table with where it was made."""

from __future__ import annotations

import csv
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import threadpoolctl
from numpy.typing import NDArray
from scipy import ndimage

from femur_nnunet.command_line import format_table

Mask = NDArray[np.bool_]
SPACING_MM_ZYX = (1.0, 0.7, 0.7)
SHAPE_ZYX = (200, 512, 512)
RESULTS = Path(__file__).resolve().parent / "results"


def femur(shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> Mask:
    """A shaft that leaves the image at the bottom, a neck and a head: a proximal femur in size and shape."""
    z, y, x = (np.arange(n, dtype=np.float32) * s for n, s in zip(shape_zyx, SPACING_MM_ZYX, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    centre_y, centre_x = shape_zyx[1] * SPACING_MM_ZYX[1] / 2, shape_zyx[2] * SPACING_MM_ZYX[2] / 2
    shaft = ((y - centre_y) ** 2 + (x - centre_x) ** 2 <= 16.0**2) & (z < 140)
    head = (z - 165) ** 2 + (y - centre_y) ** 2 + (x - centre_x + 45) ** 2 <= 24.0**2
    along = np.clip(((x - centre_x) * -45 + (z - 130) * 35) / (45**2 + 35**2), 0, 1)
    neck = (x - centre_x + 45 * along) ** 2 + (y - centre_y) ** 2 + (z - 130 - 35 * along) ** 2 <= 15.0**2
    return np.asarray(shaft | head | neck)


def box(shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> Mask:
    """A box: shifted, it has the same distances in voxels and in surface elements."""
    mask = np.zeros(shape_zyx, dtype=bool)
    mask[40:160, 200:300, 180:300] = True
    return mask


def disturbed(mask: Mask, kind: str, seed: int = 0) -> Mask:
    """A prediction: ``good`` (under a voxel off), ``shifted`` by 4 voxels, or good with ``islands`` 10 cm away."""
    if kind == "shifted":
        return np.roll(mask, 4, axis=1)
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape).astype(np.float32), 3)
    good = ndimage.gaussian_filter(mask.astype(np.float32), 1.0) + 0.2 * noise / noise.std() > 0.5
    # Errors lie along the surface: no holes deep inside, no crumbs far outside.
    good &= ndimage.binary_dilation(mask, iterations=3)
    good |= ndimage.binary_erosion(mask, iterations=3, border_value=1)
    if kind == "islands":
        for z, y, x in ((30, 240, 400), (90, 260, 420), (150, 250, 430), (170, 280, 410)):
            good[z:z + 5, y:y + 6, x:x + 6] = True
    return good


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask as SimpleITK does by default."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING_MM_ZYX[::-1])
    sitk.WriteImage(image, str(path))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let every library use one thread."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with threadpoolctl.threadpool_limits(1):
        yield


def interleaved(methods: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Wall seconds of each method in ``runs`` rounds, the methods in turn, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(runs + 1):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median over rounds of the ratio within a round, which other work on the machine disturbs least."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def publish(name: str, rows: list[dict[str, object]], folder: Path, *, threads: object = 1) -> None:
    """Print a table and write it as CSV, every row with the command, the machine and the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    print("\n".join(format_table(list(rows[0]), [list(row.values()) for row in rows])))
    made = provenance(threads)
    print(", ".join(f"{key} {value}" for key, value in made.items()))
    with (folder / name).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=[*rows[0], *made], lineterminator="\n")
        writer.writeheader()
        writer.writerows([{**row, **made} for row in rows])


def provenance(threads: object) -> dict[str, object]:
    """Columns that say where a row was made: command, machine, threads, load, commit."""
    return {"command": shown_command(sys.argv),
            "cpu": _cpu_model(), "cores": os.cpu_count(), "threads": threads,
            "load_average": f"{os.getloadavg()[0]:.1f}", "python": platform.python_version(), "commit": _commit()}


def short_provenance() -> dict[str, object]:
    """Command and commit alone, for tables of values that no machine changes."""
    made = provenance(1)
    return {name: made[name] for name in ("command", "commit")}


def shown_command(arguments: Sequence[str]) -> str:
    """A command line without this machine's folders: an absolute path stands as the name of its option."""
    shown, option = ["python", f"benchmarks/{Path(arguments[0]).name}"], "PATH"
    for part in arguments[1:]:
        if part.startswith("--"):
            option, _, value = part.partition("=")
            part = f"{option}={option.lstrip('-').upper()}" if value.startswith(("/", "../")) else part
        elif part.startswith(("/", "../")):
            part = option.lstrip("-").upper()
        shown.append(part)
    return shlex.join(shown)


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=RESULTS.parent, capture_output=True,
                               text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
