"""What the adaptation terms need beside the network: site classifiers, queues and teacher, as a plan sizes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import distributed

from femur_nnunet.adaptation.gradient_norms import keep_buffers_for_further_passes
from femur_nnunet.adaptation.mean_teacher import MeanTeacher
from femur_nnunet.adaptation.site_classifier import LayerClassifiers
from femur_nnunet.adaptation.site_queue import FeatureQueues
from femur_nnunet.errors import FemurError, UsageError
from femur_nnunet.loading.two_views import TwoViewsTransform
from femur_nnunet.plan_settings import FemurPlanSettings
from femur_nnunet.trainers.checkpoint_selection import SelectingTrainer

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


class AdaptationPartsTrainer(SelectingTrainer):
    """Builds the parts of the terms that a subclass names, and keeps them in its checkpoints."""

    terms: tuple[str, ...] = ()
    teacher: MeanTeacher | None = None

    def initialize(self) -> None:
        """Build the network, and outside of it the site classifiers, the queues and the teacher.

        Raises
        ------
        UsageError
            The plan asks for ``batch_dice`` under several GPUs.
        """
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
        if self.is_compiled():
            keep_buffers_for_further_passes()
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
        """Take these back; the classifiers' outputs must mean the same sites.

        Raises
        ------
        FemurError
            The checkpoint is of other sites.
        """
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
