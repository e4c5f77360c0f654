"""Training on labelled and unlabelled scans of several sites, every batch holding every site."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from femur_nnunet.adaptation.gathering import gather
from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.errors import UsageError
from femur_nnunet.loading.site_balanced_loader import SiteBalancedLoader, cases_by_site
from femur_nnunet.loading.training_cases import (
    UNLABELLED_SUFFIX,
    FoldCases,
    fold_cases,
    fold_cohort,
    hold_out_unlabelled,
)
from femur_nnunet.loading.two_folder_dataset import TwoFolderDataset
from femur_nnunet.trainers.transunet_trainer import TransUNetTrainer


class UnlabelledScansTrainer(TransUNetTrainer):
    """Knows the fold's labelled and unlabelled cases and their sites, and loads batches of all sites."""

    scoring_cases: list[str]

    @cached_property
    def cases(self) -> FoldCases:
        """The fold's cases; unlabelled ones that are kept out for scoring are in ``scoring_cases``.

        Unlabelled scans of a site that has labelled ones are in neither.

        Raises
        ------
        UsageError
            Fewer than two sites.
        """
        folder = Path(self.preprocessed_dataset_folder_base)
        everything = fold_cases(folder, *self.do_split(), cohort=fold_cohort(folder, self.fold))
        found = everything.without_unlabelled_of_labelled_sites()
        left_out = len(everything.unlabelled) - len(found.unlabelled)
        if left_out:
            self.print_to_log_file(f"{left_out} unlabelled scans of sites that have labelled ones are left out.")
        if len(found.sites) < 2:
            raise UsageError(f"training scans of {', '.join(found.sites)} alone",
                             expected="scans of at least two sites, labelled or in imagesUn",
                             action="convert the other site too, or train with TransUNetTrainer")
        selection = self.settings.selection
        # A choice that does not decide over checkpoint_final.pth is not worth scans to train on.
        decides = selection.becomes_final and selection.target_patches > 0
        kept, self.scoring_cases = hold_out_unlabelled(found.unlabelled,
                                                       selection.held_out_fraction if decides else 0.0)
        return replace(found, unlabelled=kept)

    def patches_a_step(self) -> int:
        """Return the patches of a step over all GPUs, the same number of each site.

        Raises
        ------
        UsageError
            The sites cannot share the batch, or the labelled ones the labelled patches, evenly.
        """
        wanted, sites = self.settings.sampling.labelled_patches, len(self.cases.sites)
        if wanted == 0:
            batch = super().patches_a_step()
            if batch % sites:
                # Always naming the commonest site would be right more often than the verdict's chance, 1 / sites.
                raise UsageError(f"a batch of {batch} for {sites} sites",
                                 expected="a number that the sites share evenly, one patch for each at least",
                                 action="change batch_size in the plan, or set sampling.labelled_patches")
            return batch
        labelled_sites = len(self.cases.labelled_sites)
        if wanted % labelled_sites:
            raise UsageError(f"{wanted} labelled patches a step for {labelled_sites} labelled sites",
                             expected="a number that these sites share evenly",
                             action="change sampling.labelled_patches in the plan")
        return wanted // labelled_sites * sites

    def two_folder_dataset(self, labelled: list[str], unlabelled: list[str]) -> TwoFolderDataset:
        """Return a dataset of preprocessed cases of both kinds."""
        return TwoFolderDataset(self.preprocessed_dataset_folder, labelled,
                                self.preprocessed_dataset_folder + UNLABELLED_SUFFIX, unlabelled)

    def training_loader(self, train: list[str], initial_size: Any, transforms: Any) -> Any:
        """Return a loader of labelled and unlabelled patches in which every batch holds every site.

        Raises
        ------
        UsageError
            A batch that the sites or the GPUs do not share evenly.
        """
        sites = self.cases.sites
        site_of = {case: parse_case_id(case).site for case in [*train, *self.cases.unlabelled]}
        self.print_to_log_file(f"Sites {', '.join(sites)}: {len(train)} labelled, {len(self.cases.unlabelled)} "
                               f"unlabelled training cases, {self.patches_a_step()} patches a step.")
        if self.is_ddp:
            sizes = gather(torch.tensor([self.batch_size], device=self.device)).tolist()
            if len(set(sizes)) > 1:
                raise UsageError(f"{self.configuration_manager.batch_size} patches on {len(sizes)} GPUs",
                                 expected="a batch size that the GPUs share evenly", action="change batch_size")
        return SiteBalancedLoader(
            self.two_folder_dataset(train, self.cases.unlabelled), self.batch_size, initial_size,
            self.configuration_manager.patch_size, self.label_manager, transforms=transforms,
            oversample_foreground_percent=self.settings.sampling.foreground_fraction, probabilistic_oversampling=True,
            first_slot=self.local_rank * self.batch_size,
            cases_by_site=cases_by_site(train, self.cases.unlabelled, sites, site_of))

    def labelled_and_sites(self, case_ids: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which patches of a batch are labelled (n,), on the CPU, and the site of each (n,)."""
        labelled = set(self.cases.train)
        names = [str(case) for case in case_ids]
        return (torch.tensor([case in labelled for case in names]),
                torch.tensor([self.cases.sites.index(parse_case_id(case).site) for case in names],
                             device=self.device))
