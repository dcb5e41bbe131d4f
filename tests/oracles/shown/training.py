"""Short trainings that observers look at, each so that another of their branches is met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from torch import Tensor

from bioplausible import rules
from bioplausible.data import ImageDataModule
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from bioplausible.rules import LearningRule
from tests.helpers import build_in_double
from tests.oracles.shown.catching import Caught, loggers

DENSE = [16, 6, 5, 4]
IMAGES = [[1, 4, 4], {"conv": 3, "kernel": 3, "padding": 1, "pool": "average"}, 5, 4]
SKIP = [
    [1, 4, 4],
    {"conv": 2, "kernel": 1},
    {"conv": 2, "kernel": 1},
    {"conv": 2, "kernel": 1, "skip": {"from": 1, "stride": 1}},
    4,
]
SHORT = {"free_steps": 5, "nudged_steps": 3}
TRACKED = {**SHORT, "track_correlations": True, "track_correlations_every_n_steps": 2}


class FewImages(ImageDataModule):
    """Four classes of 4 × 4 images: without the share held out, the last batch of five is a smaller one.

    Args:
        one_class: whether all training images are of the class 2.
        **options: those of :class:`bioplausible.data.ImageDataModule`.
    """

    image_shape = (1, 4, 4)
    num_classes = 4
    class_names = ("ankle boot", "bag", "coat", "dress")

    def __init__(self, one_class: bool = False, **options: Any) -> None:
        self.one_class = one_class
        super().__init__(**{"batch_size": 5, "evaluation_batch_size": 4, "validation_split": 0.25, **options})

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns images whose class shows in them, and some noise."""
        draw, n = np.random.RandomState(1 + train), 24 if train else 9
        y = np.full(n, 2) if train and self.one_class else draw.randint(4, size=n)
        x = 0.6 * draw.rand(n, 1, 4, 4)
        x[np.arange(n), 0, y] += 0.4
        return torch.from_numpy(x).float(), torch.from_numpy(y)


@dataclass
class Training:
    """A short training.

    Attributes:
        cls: the rule.
        network: as :func:`tests.helpers.build` takes it.
        options: the rule's.
        trainer: the Trainer's.
        data: those of :class:`FewImages`.
        spoil: what goes wrong after each batch, of the rule, before observers look.
        checkpoint: whether one is written where training ends.
    """

    cls: type[LearningRule]
    network: list[Any] = field(default_factory=lambda: DENSE)
    options: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[LearningRule, int], None] | None = None
    checkpoint: bool = False

    def but(self, **trainer: Any) -> "Training":
        """Returns the same with other options of the Trainer."""
        return replace(self, trainer={**self.trainer, **trainer})

    def rule(self, disturbance: float = 0.0) -> LearningRule:
        """Returns the rule, in float64, as it begins.

        Args:
            disturbance: relative size of random changes of its weights, to see whether they matter.
        """
        torch.manual_seed(0)
        rule = build_in_double(self.cls, self.network, **self.options)
        noise = np.random.RandomState(2)
        for parameter in rule.parameters() if disturbance else ():
            parameter.data *= 1 + disturbance * torch.as_tensor(noise.randn(*parameter.shape))
        return rule

    def run(self, caught: Caught, observers: Sequence[Callback], disturbance: float = 0.0) -> tuple[Trainer, Any, Any]:
        """Trains two epochs, and returns the Trainer, the rule and the data."""
        rule, data = self.rule(disturbance), FewImages(**self.data)
        callbacks = [*([] if self.spoil is None else [Spoiler(self.spoil)]), *observers]
        if self.checkpoint and not any(isinstance(one, LastCheckpoint) for one in observers):
            callbacks.append(LastCheckpoint())
        trainer = Trainer(
            **{
                **{"accelerator": "cpu", "precision": "64-true", "max_epochs": 2, "log_every_n_steps": 2},
                **{
                    "enable_checkpointing": any(isinstance(one, Checkpoint) for one in callbacks),
                    "enable_progress_bar": any(isinstance(one, ProgressBar) for one in observers),
                },
                **{"enable_model_summary": False, "num_sanity_val_steps": 1, "logger": loggers(caught)},
                **{"callbacks": callbacks, **self.trainer},
            }
        )
        trainer.fit(rule, datamodule=data)
        return trainer, rule, data


class Spoiler(Callback):
    """Makes something go wrong.

    Args:
        spoil: gets the rule, and how many steps it has taken.
    """

    def __init__(self, spoil: Callable[[LearningRule, int], None]) -> None:
        self.spoil = spoil

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Does so."""
        self.spoil(pl_module, trainer.global_step)


def dead_units(rule: LearningRule, step: int) -> None:
    """Leaves two units of layer 1 without weights: one is silent then, and one has its large bias for all images."""
    rule.network.wiring["1"].weight[:2] = 0.0
    rule.network.wiring["1"].bias[:2] = torch.tensor([0.0, 5.0])


def not_finite(rule: LearningRule, step: int) -> None:
    """Makes a state of the last phase infinite after the second step."""
    if step == 2:
        list(rule.phases.values())[-1].activity[2][0, 0] = float("nan")


def large_weight(rule: LearningRule, step: int) -> None:
    """Makes a weight large after the second step."""
    if step == 2:
        rule.network.wiring["2"].weight[0, 0] = -2e4


def indefinite(rule: LearningRule, step: int) -> None:
    """Makes lateral weights indefinite."""
    if step == 2:
        rule.network.laterals[2].weight[1, 1] = -3.0


def hardly_indefinite(rule: LearningRule, step: int) -> None:
    """Makes lateral weights indefinite, by a hundredth of their mean."""
    B = rule.network.laterals[2].weight
    if step == 2:
        B.diagonal().sub_(torch.linalg.eigvalsh(B)[0])
        B.diagonal().sub_(0.01 * B.diagonal().mean())


def unsettled(rule: LearningRule, step: int) -> None:
    """Lets a layer of the last phase still move, as much as its step's size allows."""
    if step == 2:
        list(rule.phases.values())[-1].previous[1][:, 0] += 0.3


def same_outputs(rule: LearningRule, step: int) -> None:
    """Gives all classes the same output, from the third step on."""
    if step >= 3:
        rule.output[:] = 0.25


def one_answer(rule: LearningRule, step: int) -> None:
    """Takes every sample for class 2, but for the fifth batch."""
    if step != 5:
        rule.output[:, 2] += 10.0


EP = rules.EquilibriumPropagation
HOLOMORPHIC = {"points": 4, "activation_function": "smooth_clip", "output_activation": "sigmoid", "step_size": 1.0}

TRAININGS: dict[str, Training] = {
    "two phases": Training(rules.CorInfoMax, DENSE, TRACKED),
    "three phases": Training(
        rules.CorInfoMax, [16, 5, 4], {**TRACKED, "three_phase": True, "regularize_lateral": True, "epsilon": 0.1}
    ),
    "sparse": Training(rules.CorInfoMaxSparse, DENSE, TRACKED),
    "images": Training(EP, IMAGES, {**SHORT, "three_phase": True}),
    "feedback": Training(EP, DENSE, {**SHORT, "feedback": "learned", "feedback_learning_rates": 0.05}),
    "complex": Training(EP, DENSE, {**SHORT, **HOLOMORPHIC, "beta": 0.5}),
    "inference": Training(rules.PredictiveCoding, DENSE, {"inference_steps": 4}),
    "feedforward": Training(rules.FeedbackAlignment, DENSE),
    "skip": Training(rules.Backpropagation, SKIP),
    "goodness": Training(rules.ForwardForward, DENSE),
    "untracked": Training(rules.CorInfoMax, DENSE, SHORT),
    "images, tracked": Training(rules.CorInfoMax, IMAGES, TRACKED),
    "cut": Training(rules.FeedbackAlignment, trainer={"max_steps": 6, "max_epochs": -1}, checkpoint=True),
    "not validated": Training(rules.FeedbackAlignment, data={"validation_split": 0.0}),
    "one class": Training(rules.FeedbackAlignment, data={"one_class": True}),
    "few tested": Training(rules.FeedbackAlignment, trainer={"limit_test_batches": 2}),
    "hardly tested": Training(rules.FeedbackAlignment, trainer={"limit_test_batches": 0.1}),
    "untested": Training(rules.FeedbackAlignment, trainer={"limit_test_batches": 0}),
    "unlogged": Training(rules.FeedbackAlignment, trainer={"logger": False}),
    "timed": Training(rules.FeedbackAlignment, trainer={"max_time": "00:01:00:00"}),
    "dead units": Training(rules.FeedbackAlignment, spoil=dead_units),
    "not finite": Training(rules.CorInfoMax, DENSE, SHORT, spoil=not_finite),
    "large weight": Training(rules.FeedbackAlignment, spoil=large_weight),
    "indefinite": Training(rules.CorInfoMax, DENSE, SHORT, spoil=indefinite),
    "hardly indefinite": Training(rules.CorInfoMax, DENSE, SHORT, spoil=hardly_indefinite),
    "unsettled": Training(rules.CorInfoMax, DENSE, {"free_steps": 30, "nudged_steps": 10}, spoil=unsettled),
    "same outputs": Training(rules.FeedbackAlignment, spoil=same_outputs),
    "one answer": Training(rules.FeedbackAlignment, trainer={"max_epochs": 3}, spoil=one_answer),
    "short and collapsed": Training(
        rules.FeedbackAlignment,
        trainer={"max_epochs": 3},
        data={"batch_size": 1, "validation_split": 0.2},
        spoil=same_outputs,
    ),
}
"""By what is special of each."""
