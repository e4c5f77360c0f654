"""The one entrance for images: files of several formats and DICOM folders."""

from __future__ import annotations

from pathlib import Path

from femur_nnunet.errors import FemurError
from femur_nnunet.machine_failures import raise_machine_failure
from femur_nnunet.volume_io.archives import ARCHIVE_SUFFIXES, on_disk
from femur_nnunet.volume_io.dicom_headers import looks_like_dicom
from femur_nnunet.volume_io.dicom_series import read_dicom_series
from femur_nnunet.volume_io.image_files import IMAGE_SUFFIXES, image_suffix, read_image_file
from femur_nnunet.volume_io.reading_rules import STRICT, ReadingRules
from femur_nnunet.volume_io.volume import Volume


def read_volume(path: Path, *, subject: str = "", rules: ReadingRules = STRICT) -> Volume:
    """Read a CT volume in HU on its own grid.

    Parameters
    ----------
    path : Path
        A file (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr, or multi-frame DICOM), a folder that holds one DICOM CT
        series, nested or flat, or an archive (.zip, .tar, .tar.gz, .tgz) of one of these.
    subject : str, optional
        What errors are about: a manifest row, a case id. Errors never hold names, paths or text of the file,
        which may identify a patient.
    rules : ReadingRules, optional
        What of a DICOM series is mended in place of refused: uneven spacing, gantry tilt.

    Returns
    -------
    Volume
        HU, grid, allow-listed acquisition tags and notes.

    Raises
    ------
    FemurError
        The image is missing or cannot be used; the message says why.
    """
    try:
        with on_disk(path, subject=subject) as source:
            return _read(source, subject, rules)
    except OSError as error:
        raise_machine_failure(error, subject)
        # The system's own text would hold the path.
        raise FemurError(f"a file that the system cannot read (error {error.errno})", expected="readable files",
                         action="check permissions and the disk", subject=subject) from None


def _read(path: Path, subject: str, rules: ReadingRules) -> Volume:
    if path.is_dir():
        return read_dicom_series(path, subject=subject, rules=rules)
    if not path.is_file():
        raise FemurError("no file or folder where the image should be", expected="an image file or a DICOM folder",
                         action="correct the image column of the table", subject=subject)
    if path.stat().st_size == 0:
        raise FemurError("an empty file", expected="an image", action="copy the file again", subject=subject)
    if image_suffix(path) is None and looks_like_dicom(path):
        return read_dicom_series(path, subject=subject, rules=rules)
    if image_suffix(path) is None:
        raise FemurError("a file of an unknown kind",
                         expected=f"one of {', '.join((*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES))}, or a DICOM folder",
                         action="convert or unpack the file", subject=subject)
    return read_image_file(path, subject=subject)
