"""One training step for all arms that see unlabelled scans; each arm names the terms that it uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from femur_nnunet.adaptation.gathering import gather, gather_with_gradient
from femur_nnunet.adaptation.gradient_norms import gradient_norms
from femur_nnunet.adaptation.mean_teacher import consistency_loss, consistency_weight
from femur_nnunet.adaptation.terms import adaptation_terms
from femur_nnunet.trainers.adaptation_log import LOG_KEYS, log_adaptation, write_adaptation_files
from femur_nnunet.trainers.adaptation_parts import AdaptationPartsTrainer
from femur_nnunet.trainers.checkpoint_selection import SELECTION_KEYS
from femur_nnunet.trainers.labelled_loss import labelled_share, loss_of_labelled, patches_to_decode, rows_of


class AdaptingTrainer(AdaptationPartsTrainer):
    """Segmentation loss on labelled patches, and the terms that a subclass names on all patches."""

    extra_log_keys = LOG_KEYS + SELECTION_KEYS

    def train_step(self, batch: dict) -> dict:
        """Do one step and return its losses, those of the adaptation terms over the global batch on every rank."""
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
        # Outside of autocast and on the batch of all ranks: MMD is a small difference of means.
        gathered = {layer: gather_with_gradient(values.float()) for layer, values in tokens.items()}
        terms = adaptation_terms(gathered, gather(sites), self.domain_head, progress=self.progress,
                                 settings=self.settings.adaptation, queues=self.queues,
                                 sample_seed=self._sample_seed())
        weight = consistency_weight(self.progress, self.settings.teacher) if self.teacher else 0.0
        weighted = {"segmentation": segmentation, **terms.reaching_encoder()}
        if weight > 0:
            weighted["consistency"] = weight * consistency
        norms = self.gradients_at_encoder(weighted)
        self.step_optimizer(segmentation + terms.total + weight * consistency,
                            [self.network.parameters(), self.domain_head.parameters()],
                            parts=f" (segmentation {segmentation:.4g}, sites {terms.domain:.4g}, MMD {terms.mmd:.4g}, "
                                  f"consistency {consistency:.4g})")
        if self.teacher is not None:
            self.teacher.update(self.bare_network())
        return {"loss": segmentation.detach().cpu().numpy(), **terms.record(), **norms,
                # nnU-Net averages the segmentation loss over ranks itself, and nothing else.
                "consistency": float(gather(consistency.detach()[None]).mean()), "consistency_weight": weight}

    def gradients_at_encoder(self, weighted: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return each weighted term's gradient norm at the encoder; nothing in steps that are not measured."""
        if self.steps_done % self.settings.adaptation.log_gradients_every:
            return {}
        return gradient_norms(weighted, self.bare_network().encoder.parameters(),
                              loss_scale=1.0 if self.grad_scaler is None else self.grad_scaler.get_scale())

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
        seeds = [self.settings.schedule.seed, self.steps_of_training]
        return int(np.random.SeedSequence(seeds).generate_state(1)[0])

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the adaptation terms beside nnU-Net's curves."""
        # nnU-Net wants the same entries of every step; gradients are measured in some only.
        super().on_train_epoch_end([{"loss": step["loss"]} for step in train_outputs])
        log_adaptation(self, train_outputs)

    def on_epoch_end(self) -> None:
        """Write adaptation.csv, its plot and what they say about the training."""
        super().on_epoch_end()
        write_adaptation_files(self)
