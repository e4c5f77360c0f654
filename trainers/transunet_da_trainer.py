"""TransUNet with gradient reversal and MMD between sites, whose scans need not be labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.site_classifier import SiteClassifier
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.case_ids import parse_case_id
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.site_balanced_loader import SiteBalancedLoader, cases_by_site
from femur_nnunet.loading.training_cases import UNLABELLED_SUFFIX, fold_cases, fold_cohort
from femur_nnunet.loading.two_folder_dataset import TwoFolderDataset
from femur_nnunet.trainers.adaptation_log import LOG_KEYS, log_adaptation
from femur_nnunet.trainers.labelled_loss import loss_of_labelled, patches_to_decode
from femur_nnunet.trainers.transunet_trainer import TransUNetTrainer


class TransUNetDATrainer(TransUNetTrainer):
    """Each step: segmentation loss on labelled patches, adaptation terms on the tokens of all patches."""

    extra_log_keys = LOG_KEYS

    def initialize(self) -> None:
        """Build the network, then the site classifier outside of it, with its own parameter group."""
        super().initialize()
        folder = Path(self.preprocessed_dataset_folder_base)
        self.cases = fold_cases(folder, *self.do_split(), cohort=fold_cohort(folder, self.fold))
        if len(self.cases.sites) < 2:
            raise UsageError(f"training scans of {', '.join(self.cases.sites)} alone",
                             expected="scans of at least two sites, labelled or in imagesUn",
                             action="convert the other site too, or train with TransUNetTrainer")
        if self.configuration_manager.batch_dice and self.is_ddp:
            raise UsageError("batch_dice in the plan", expected="batch_dice false under several GPUs: nnU-Net's Dice "
                             "gathers inside the loss, which a rank without labelled patches never reaches",
                             action="make the plan with femur_plan, or train on one GPU")
        adaptation = self.settings.adaptation
        self.domain_head = SiteClassifier(self.bare_network().token_width, len(self.cases.sites),
                                          adaptation.head_hidden).to(self.device)
        if self.is_ddp:
            for parameter in self.domain_head.parameters():
                distributed.broadcast(parameter.data, src=0)
        self.optimizer.add_param_group({"params": list(self.domain_head.parameters()),
                                        "rate_factor": self.settings.optimiser.head_learning_rate_factor})

    def extra_state(self) -> dict[str, Any]:
        """Keep the site classifier beside the network's weights, never among them."""
        return {"domain_head": self.domain_head.state_dict(), "sites": self.cases.sites}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take the site classifier back; its outputs must mean the same sites."""
        if state["sites"] != self.cases.sites:
            raise FemurError(f"a checkpoint for the sites {', '.join(state['sites'])}",
                             expected=f"the sites {', '.join(self.cases.sites)} of this fold",
                             action="start a new training for the changed cohort")
        self.domain_head.load_state_dict(state["domain_head"])

    def training_loader(self, train: list[str], initial_size: Any, transforms: Any) -> Any:
        """Return a loader of labelled and unlabelled patches in which every batch holds every site."""
        sites = self.cases.sites
        site_of = {case: parse_case_id(case).site for case in [*train, *self.cases.unlabelled]}
        if self.configuration_manager.batch_size < len(sites):
            raise UsageError(f"a batch of {self.configuration_manager.batch_size}",
                             expected=f"at least one patch for each of the {len(sites)} sites",
                             action="raise batch_size in the plan")
        dataset = TwoFolderDataset(self.preprocessed_dataset_folder, train,
                                   self.preprocessed_dataset_folder + UNLABELLED_SUFFIX, self.cases.unlabelled)
        self.print_to_log_file(f"Sites {', '.join(sites)}: {len(train)} labelled, {len(self.cases.unlabelled)} "
                               "unlabelled training cases.")
        sizes = [self.batch_size]
        if self.is_ddp:
            sizes = gather(torch.tensor([self.batch_size], device=self.device)).tolist()
            if len(set(sizes)) > 1:
                raise UsageError(f"{self.configuration_manager.batch_size} patches on {len(sizes)} GPUs",
                                 expected="a batch size that the GPUs share evenly", action="change batch_size")
        return SiteBalancedLoader(
            dataset, self.batch_size, initial_size, self.configuration_manager.patch_size, self.label_manager,
            transforms=transforms, oversample_foreground_percent=self.settings.sampling.foreground_fraction,
            probabilistic_oversampling=True, first_slot=self.local_rank * self.batch_size,
            cases_by_site=cases_by_site(train, self.cases.unlabelled, sites, site_of))

    def on_train_start(self) -> None:
        """Let the network hand out its tokens while it trains."""
        super().on_train_start()
        self.bare_network().return_tokens = True
        self.labelled = frozenset(self.cases.train)

    def train_step(self, batch: dict) -> dict:
        """Do one step and return its losses, those of the adaptation terms over the global batch."""
        data = batch["data"].to(self.device, non_blocking=True)
        case_ids = [str(case) for case in batch["keys"]]
        labelled = torch.tensor([case in self.labelled for case in case_ids])
        sites = torch.tensor([self.cases.sites.index(parse_case_id(case).site) for case in case_ids],
                             device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            outputs, tokens = self.network(data, patches_to_decode(labelled).to(self.device))
            segmentation = loss_of_labelled(self.loss, outputs, batch["target"], labelled)
        # Outside of autocast and on the batch of all ranks: MMD is a small difference of means.
        terms = adaptation_terms(gather_with_gradient(tokens.float()), gather(sites), self.domain_head,
                                 progress=self.progress, settings=self.settings.adaptation)
        self.step_optimizer(segmentation + terms.total, [self.network.parameters(), self.domain_head.parameters()],
                            parts=f" (segmentation {segmentation:.4g}, sites {terms.domain:.4g}, MMD {terms.mmd:.4g})")
        return {"loss": segmentation.detach().cpu().numpy(), **terms.record()}

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the adaptation terms beside nnU-Net's curves and in adaptation.csv."""
        super().on_train_epoch_end(train_outputs)
        log_adaptation(self, train_outputs)
