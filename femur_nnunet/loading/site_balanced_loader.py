"""A data loader whose batches always hold every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from femur_nnunet.errors import UsageError


class SiteBalancedLoader(nnUNetDataLoader):
    """nnU-Net's loader with one rule: global slot k of a batch belongs to site k modulo the number of sites.

    The rule looks at the slot alone, so it holds for any number of worker processes, whichever of them
    made the batch, and over the ranks of distributed training.

    Parameters
    ----------
    cases_by_site : sequence of sequence of str
        The cases that each site contributes, in the order of the sites.
    first_slot : int
        Global number of this rank's first slot: the sum of the batch sizes of the ranks before it.
    *arguments, **options
        As for nnU-Net's loader.

    Raises
    ------
    UsageError
        A site has no case.
    """

    def __init__(self, *arguments: Any, cases_by_site: Sequence[Sequence[str]], first_slot: int = 0,
                 **options: Any) -> None:
        super().__init__(*arguments, **options)
        if any(len(cases) == 0 for cases in cases_by_site):
            raise UsageError("a site without training cases", expected="cases of every site",
                             action="leave the site out of the cohort, or convert scans of it")
        self.cases_by_site = [list(cases) for cases in cases_by_site]
        self.first_slot = first_slot

    def get_indices(self) -> list[str]:
        """Return one case id for each slot of this rank's batch."""
        return [str(np.random.choice(self.cases_by_site[(self.first_slot + slot) % len(self.cases_by_site)]))  # noqa: NPY002
                for slot in range(self.batch_size)]


def cases_by_site(train: Sequence[str], unlabelled: Sequence[str], sites: Sequence[str],
                  site_of: Mapping[str, str]) -> list[list[str]]:
    """Return the cases that each site's slots draw from.

    A site with labelled cases draws from these alone: its slots then always carry a segmentation
    loss, so that the number of labelled patches in a step does not vary.
    """
    drawn = []
    for site in sites:
        labelled = [case for case in train if site_of[case] == site]
        drawn.append(labelled or [case for case in unlabelled if site_of[case] == site])
    return drawn
