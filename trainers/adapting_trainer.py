"""One training step for all arms that see unlabelled scans; each arm names the terms that it uses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import distributed

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.gradient_norms import GradientProbe
from femur_nnunet.adaptation.mean_teacher import MeanTeacher, consistency_loss, consistency_weight
from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.two_views import TwoViewsTransform
from femur_nnunet.plan_settings import FemurPlanSettings
from femur_nnunet.trainers.adaptation_log import LOG_KEYS, log_adaptation, write_adaptation_files
from femur_nnunet.trainers.checkpoint_selection import SELECTION_KEYS, SelectingTrainer
from femur_nnunet.trainers.labelled_loss import labelled_share, loss_of_labelled, patches_to_decode, rows_of

GRADIENT_REVERSAL, MMD, CONSISTENCY = "gradient_reversal", "mmd", "consistency"


def with_terms(settings: FemurPlanSettings, terms: tuple[str, ...]) -> FemurPlanSettings:
    """Return a plan's settings with the weights of all other terms at zero.

    Without gradient reversal lambda is zero, but the site classifier learns on: its accuracy is logged
    in every arm.
    """
    adaptation = settings.adaptation
    return replace(
        settings,
        adaptation=replace(adaptation,
                           reversal_strength=adaptation.reversal_strength if GRADIENT_REVERSAL in terms else 0.0,
                           mmd_weight=adaptation.mmd_weight if MMD in terms else 0.0),
        teacher=settings.teacher if CONSISTENCY in terms else replace(settings.teacher, consistency_weight=0.0))


class AdaptingTrainer(SelectingTrainer):
    """Segmentation loss on labelled patches, and the terms that a subclass names on all patches."""

    terms: tuple[str, ...] = ()
    extra_log_keys = LOG_KEYS + SELECTION_KEYS
    teacher: MeanTeacher | None = None

    def initialize(self) -> None:
        """Build the network, and outside of it the site classifiers, the queues and the teacher."""
        self.settings = with_terms(self.settings, self.terms)
        super().initialize()
        if self.configuration_manager.batch_dice and self.is_ddp:
            raise UsageError("batch_dice in the plan", expected="batch_dice false under several GPUs: nnU-Net's Dice "
                             "gathers inside the loss, which a rank without labelled patches never reaches",
                             action="make the plan with femur_plan, or train on one GPU")
        adaptation = self.settings.adaptation
        network = self.bare_network()
        network.token_layers = adaptation.layers
        self.domain_head = LayerClassifiers(network.token_widths, len(self.cases.sites),
                                            adaptation.head_hidden).to(self.device)
        if self.is_ddp:
            for parameter in self.domain_head.parameters():
                distributed.broadcast(parameter.data, src=0)
        self.optimizer.add_param_group({"params": list(self.domain_head.parameters()),
                                        "rate_factor": self.settings.optimiser.head_learning_rate_factor})
        self.queues = FeatureQueues(adaptation.layers, len(self.cases.sites), patches=adaptation.mmd_queue_patches,
                                    tokens=adaptation.mmd_queue_tokens)
        if self.settings.teacher.consistency_weight > 0:
            self.teacher = MeanTeacher(network, self.settings.teacher.decay)
        # Else unlabelled patches need no more than the encoder.
        self.decodes_everything = self.teacher is not None or any(
            layer.startswith("decoder") for layer in adaptation.layers)

    def extra_state(self) -> dict[str, Any]:
        """Keep classifiers, queues and teacher beside the network's weights, never among them."""
        return {**super().extra_state(), "domain_head": self.domain_head.state_dict(), "sites": self.cases.sites,
                "queues": self.queues.state(), "teacher": self.teacher.state() if self.teacher else None}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take these back; the classifiers' outputs must mean the same sites."""
        if state["sites"] != self.cases.sites:
            raise FemurError(f"a checkpoint for the sites {', '.join(state['sites'])}",
                             expected=f"the sites {', '.join(self.cases.sites)} of this fold",
                             action="start a new training for the changed cohort")
        super().load_extra_state(state)
        self.domain_head.load_state_dict(state["domain_head"])
        self.queues.load_state(state["queues"], self.device)
        if self.teacher is not None and state["teacher"] is not None:
            self.teacher.load_state(state["teacher"])

    def training_loader(self, train: list[str], initial_size: Any, transforms: Any) -> Any:
        """Return the loader of all sites; with a teacher each patch comes in a strong and a weak view."""
        return super().training_loader(train, initial_size,
                                       TwoViewsTransform(transforms) if self.teacher else transforms)

    def on_train_start(self) -> None:
        """Let the network hand out its tokens while it trains."""
        super().on_train_start()
        self.bare_network().return_tokens = True

    def train_step(self, batch: dict) -> dict:
        """Do one step and return its losses, those of the adaptation terms over the global batch."""
        data = batch["data"].to(self.device, non_blocking=True)
        labelled, sites = self.labelled_and_sites(batch["keys"])
        rows = patches_to_decode(labelled).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            outputs, tokens = self.network(data[:, :self.num_input_channels],
                                           None if self.decodes_everything else rows)
            segmentation = loss_of_labelled(
                self.loss, rows_of(outputs, rows) if self.decodes_everything else outputs, batch["target"], labelled)
            consistency = self.consistency_of_unlabelled(outputs, data, labelled)
        measures = self.steps_done % self.settings.adaptation.log_gradients_every == 0
        probe = GradientProbe(tokens, compiled=self.is_compiled()) if measures else None
        # Outside of autocast and on the batch of all ranks: MMD is a small difference of means.
        gathered = {layer: gather_with_gradient(values.float()) for layer, values in tokens.items()}
        terms = adaptation_terms(gathered, gather(sites), self.domain_head, progress=self.progress,
                                 settings=self.settings.adaptation, queues=self.queues,
                                 sample_seed=self._sample_seed())
        if probe is not None:
            probe.measure_terms(terms.reaching_encoder(), gathered)
        weight = consistency_weight(self.progress, self.settings.teacher) if self.teacher else 0.0
        scale = 1.0 if self.grad_scaler is None else self.grad_scaler.get_scale()
        self.step_optimizer(segmentation + terms.total + weight * consistency,
                            [self.network.parameters(), self.domain_head.parameters()],
                            parts=f" (segmentation {segmentation:.4g}, sites {terms.domain:.4g}, MMD {terms.mmd:.4g}, "
                                  f"consistency {consistency:.4g})")
        if self.teacher is not None:
            self.teacher.update(self.bare_network())
        record = {"loss": segmentation.detach().cpu().numpy(), **terms.record(),
                  "consistency": float(consistency.detach()), "consistency_weight": weight}
        if probe is not None:
            record |= probe.norms(labelled.to(self.device), loss_scale=scale, consistency=weight > 0)
        return record

    def consistency_of_unlabelled(self, outputs: Any, data: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
        """Return the difference between the student on strong and the teacher on weak views; 0 without a teacher.

        Parameters
        ----------
        outputs : Tensor or list of Tensor
            The student's logits of all patches.
        data : Tensor
            Shape (n, 2 c, z, y, x) with a teacher: strong views, then weak ones.
        labelled : Tensor
            Shape (n,), bool, on the CPU.
        """
        if self.teacher is None:
            return torch.zeros((), device=self.device)
        unlabelled = ~labelled
        chosen = patches_to_decode(unlabelled).to(self.device)
        finest = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
        share = labelled_share(unlabelled.sum().to(self.device))
        if not unlabelled.any():
            return finest.float().mean() * 0.0
        wanted = self.teacher.probabilities(data[chosen, self.num_input_channels:])
        return consistency_loss(finest[chosen], wanted) * share

    def _sample_seed(self) -> int:
        """Return the seed of this step's token sample: the same on every rank, and after a resume."""
        step = self.current_epoch * self.num_iterations_per_epoch + self.steps_done
        return int(np.random.SeedSequence([self.settings.schedule.seed, step]).generate_state(1)[0])

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the adaptation terms beside nnU-Net's curves."""
        # nnU-Net wants the same entries of every step; gradients are measured in some only.
        super().on_train_epoch_end([{"loss": step["loss"]} for step in train_outputs])
        log_adaptation(self, train_outputs)

    def on_epoch_end(self) -> None:
        """Write adaptation.csv, its plot and what they say about the training."""
        super().on_epoch_end()
        write_adaptation_files(self)
