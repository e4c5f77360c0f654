"""What a synthetic cohort consists of: how many people at each site, who comes twice, who is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from femur_nnunet.errors import UsageError
from femur_nnunet.phantom.anatomy import Sex
from femur_nnunet.phantom.calibration import DensityUnit
from femur_nnunet.phantom.cohort_maps import with_maps
from femur_nnunet.phantom.scan_grid import SCAN_SIZES, SizeName
from femur_nnunet.phantom.tiers import TIER_NAMES, SiteTiers, TierName, load_tiers

KIT_VERSION = 3
"""Raised whenever the same specification gives other images than before."""

SiteName = Literal["tulane", "rochester"]
ImageForm = Literal["dicom", "nifti", "nifti_ras", "metaimage"]
SITES: tuple[SiteName, SiteName] = ("tulane", "rochester")
SITE_UNITS: dict[SiteName, DensityUnit] = {"tulane": "K2HPO4", "rochester": "HA"}
# Test participants of a site that the given cohort leaves empty.
DEFAULT_TEST_SHARE = 0.1
YEARS_BETWEEN_VISITS = (1.0, 3.0)
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
    second_visits_tulane, second_visits_rochester : int
        Participants scanned twice: same anatomy, one to three years older, new position and noise.
    label_maps : str or None
        Folder of label maps of real hips whose bones are rendered instead of the analytic ones.
    label_map_subjects : str or None
        Comma-separated names of the maps to be used; all where None.
    label_map_numbers : str
        Label numbers that differ from the usual ones, as ``right_femur=1,left_femur=2``.

    Raises
    ------
    UsageError
        A count, share, tier or size that cannot be, or details of label maps without the maps.
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
    second_visits_tulane: int = 0
    second_visits_rochester: int = 0
    label_maps: str | None = None
    label_map_subjects: str | None = None
    label_map_numbers: str = ""

    def __post_init__(self) -> None:
        for site in SITES:
            if not 0 <= self.count(site, test=True) <= self.count(site):
                raise UsageError(f"{self.count(site, test=True)} test participants of {self.count(site)} "
                                 f"at {site}", expected="between none and all",
                                 action=f"change --n-test-{site}")
            if not 0 <= self.second_visits(site) <= self.count(site):
                raise UsageError(f"{self.second_visits(site)} second visits of {self.count(site)} participants "
                                 f"at {site}", expected="between none and all",
                                 action="change --second-visit-share")
        for name in ("scanner_tier", "population_tier", "positioning_tier"):
            if getattr(self, name) not in TIER_NAMES:
                raise UsageError(f"{name} {getattr(self, name)!r}", expected=" or ".join(TIER_NAMES),
                                 action="choose one of them")
        if self.size not in SCAN_SIZES:
            raise UsageError(f"size {self.size!r}", expected=" or ".join(SCAN_SIZES),
                             action="choose one of them for --size")
        for name in ("share_women", "unlabelled_share_tulane", "unlabelled_share_rochester"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} {getattr(self, name)}", expected="a share from 0 to 1",
                                 action="change it")
        if self.label_maps is None and (self.label_map_subjects is not None or self.label_map_numbers):
            raise UsageError("subjects or numbers of label maps, but no label maps",
                             expected="a folder of label maps with --label-map-subjects and --label-map-numbers",
                             action="give the folder with --label-maps, or leave these options out")

    def count(self, site: SiteName, *, test: bool = False) -> int:
        """Return the number of participants of a site, or of its test participants."""
        if site == "tulane":
            return self.n_test_tulane if test else self.n_tulane
        return self.n_test_rochester if test else self.n_rochester

    def second_visits(self, site: SiteName) -> int:
        """Return how many participants of a site are scanned twice."""
        return self.second_visits_tulane if site == "tulane" else self.second_visits_rochester

    def tiers(self, site: SiteName) -> SiteTiers:
        """Return scanner, population and positioning of a site."""
        if site == "tulane":
            return load_tiers()
        return load_tiers(scanner=self.scanner_tier, population=self.population_tier,
                          positioning=self.positioning_tier)


PRESETS: dict[str, CohortSpec] = {
    "demo": CohortSpec(),
    "tiny": CohortSpec(n_tulane=4, n_rochester=4, n_test_tulane=1, n_test_rochester=1, size="tiny"),
    # The V-Net study (arXiv 2006.05513): 397 subjects of one site, 216 women and 181 men, a tenth held out.
    "vnet-study": CohortSpec(n_tulane=397, n_rochester=0, n_test_tulane=40, n_test_rochester=0,
                             share_women=216 / 397),
    # The domain-adaptive study (arXiv 2510.26903): 1,024 and 384 scans, one participant in fifteen seen twice.
    "dual-site": CohortSpec(n_tulane=960, n_rochester=360, n_test_tulane=96, n_test_rochester=72,
                            share_women=0.55, unlabelled_share_tulane=0.05, unlabelled_share_rochester=0.25,
                            second_visits_tulane=64, second_visits_rochester=24),
}
"""Named cohorts. Tier ``moderate`` means moderate on all three axes."""


def with_scan_counts(spec: CohortSpec, scans_tulane: int, scans_rochester: int) -> CohortSpec:
    """Return a cohort of the same make-up with these numbers of scans, second visits included.

    Shares of second visits and of test participants stay as near to the given cohort's as whole people
    allow; a site that the given cohort leaves empty has a tenth of test participants. A site of two or more
    participants has at least one test participant, unless the given cohort has none there on purpose.

    Raises
    ------
    UsageError
        A negative number of scans.
    """
    changes: dict[str, int] = {}
    for site, scans in zip(SITES, (scans_tulane, scans_rochester), strict=True):
        if scans < 0:
            raise UsageError(f"{scans} scans at {site}", expected="0 or more", action="change --n")
        before = max(spec.count(site), 1)
        participants = round(scans / (1 + spec.second_visits(site) / before))
        changes[f"n_{site}"] = participants
        changes[f"second_visits_{site}"] = scans - participants
        share = spec.count(site, test=True) / before if spec.count(site) else DEFAULT_TEST_SHARE
        tested = round(participants * share)
        changes[f"n_test_{site}"] = max(tested, 1) if share > 0 and participants > 1 else tested
    return replace(spec, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PlannedScan:
    """One scan of the cohort before it is rendered; a second visit comes ``years_since_first`` later."""

    site: SiteName
    number: int
    visit: int
    years_since_first: float
    sex: Sex
    role: Literal["train", "test"]
    labelled: bool
    form: ImageForm
    label_map: str | None = None

    @property
    def participant_id(self) -> str:
        """``TU0001``, ``RO0001`` and so on."""
        return f"{_PREFIX[self.site]}{self.number:04d}"


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
        twice = set(rng.permutation(count)[:spec.second_visits(site)].tolist())
        years = rng.uniform(*YEARS_BETWEEN_VISITS, size=count).round(2)
        for position in range(count):
            for visit in (1, 2) if position in twice else (1,):
                form = _FORMS[site][(position + visit - 1) % len(_FORMS[site])]
                scans.append(PlannedScan(
                    site, position + 1, visit, float(years[position]) if visit == 2 else 0.0, sexes[position],
                    "test" if position in test else "train", position not in unlabelled, form))
    return with_maps(spec, scans)


def _in_turn(first: list[int], second: list[int]) -> list[int]:
    """Return the members of both lists, one of each in turn, then the rest of the longer one."""
    common = min(len(first), len(second))
    mixed = [item for pair in zip(first[:common], second[:common], strict=True) for item in pair]
    return mixed + first[common:] + second[common:]
