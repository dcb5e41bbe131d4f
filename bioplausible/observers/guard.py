"""Failures found while they happen, and named."""

import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.network import InverseCorrelation
from bioplausible.observers.of_one_run import OfOneRun
from bioplausible.rules import LearningRule
from bioplausible.training.data_parallel import gather
from bioplausible.training.stop_on_signal import ended_by_signal

TELLING_BATCHES = 50
"""Batches in a row at the end of a short run that tell a collapsed network from one that has not learned yet."""


class Guard(OfOneRun):
    """Stops a run that has failed, with one sentence that names what, where, when and what to change.

    Looks at the last batch after the first step, when a wrong step size shows before it has spoilt the weights, every
    so many steps and, but for collapse, before each checkpoint, so that those on disk are sound:

    * states, weights or lateral matrices that are not finite, or larger than ``limit``;
    * a phase whose residual (:func:`bioplausible.functional.residual`) exceeds ``residual_limit``: it oscillates or
      runs away instead of settling;
    * lateral weights B that are no longer positive definite: an eigenvalue below −0.001 of their mean (B starts with
      eigenvalues so small that rounding makes them negative);
    * collapse: from ``warm_up_steps`` on, in ``patience`` looks one after the other, every sample gets the same class
      while the targets differ, or all classes get the same output. At the end of a run that is shorter, the last
      fifty batches are: in fewer a network may not have learned to tell any classes apart.

    Args:
        every_n_steps: steps between two looks.
        residual_limit: largest residual of a phase that counts as settled; in the published recipes on Fashion-MNIST
            it stays below 0.15.
        limit: largest magnitude of a state or weight.
        warm_up_steps: steps before collapse is looked for.
        patience: looks in a row that must show collapse.
        warn_only: whether to warn, once for each kind of failure, and go on.

    Raises:
        UserError: the run has failed (unless ``warn_only``), or an argument is not positive.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        residual_limit: float = 0.5,
        limit: float = 1e4,
        warm_up_steps: int = 500,
        patience: int = 5,
        warn_only: bool = False,
    ) -> None:
        for name, value in (
            ("every_n_steps", every_n_steps),
            ("residual_limit", residual_limit),
            ("limit", limit),
            ("warm_up_steps", warm_up_steps),
            ("patience", patience),
        ):
            if value <= 0:
                raise UserError(f"{name} is {value}: it must be positive.")
        self.every_n_steps = every_n_steps
        self.residual_limit = residual_limit
        self.limit = limit
        self.warm_up_steps = warm_up_steps
        self.patience = patience
        self.warn_only = warn_only
        super().__init__()

    def start_anew(self) -> None:
        """Forgets how long a network has been collapsed, and what was warned of."""
        self._collapsed_looks = 0
        self._collapsed_batches = 0
        self._how = ""
        self._warned: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """Returns how long the network has been collapsed: training that resumes must come to the same end."""
        return {"looks": self._collapsed_looks, "batches": self._collapsed_batches, "how": self._how}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it up."""
        self._collapsed_looks, self._collapsed_batches = state_dict["looks"], state_dict["batches"]
        self._how = state_dict["how"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks at the batch where it is time, and for collapse at each one until the warm-up is over."""
        step = trainer.global_step
        due = step == 1 or step % self.every_n_steps == 0
        if not isinstance(pl_module, LearningRule) or not (due or step < self.warm_up_steps):
            return
        if due:
            self.look(pl_module, step)
        how = _collapsed(pl_module.output, pl_module.classes)
        self._collapsed_batches = self._collapsed_batches + 1 if how else 0
        self._how = how
        if due:
            self._collapsed_looks = self._collapsed_looks + 1 if how else 0
            if step >= self.warm_up_steps and self._collapsed_looks >= self.patience:
                self._collapsed_looks = 0
                apart = f"{self.patience} looks in a row, {self.every_n_steps} steps apart"
                self._fail_collapsed(step, apart if self.patience > 1 else "one look")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks for collapse where the run was too short for it."""
        short = trainer.global_step < self.warm_up_steps and not ended_by_signal(trainer)
        if short and self._collapsed_batches >= TELLING_BATCHES:
            self._fail_collapsed(trainer.global_step, f"the last {TELLING_BATCHES} batches")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lets no checkpoint be written of a run that has failed."""
        if isinstance(pl_module, LearningRule):
            self.look(pl_module, trainer.global_step)

    @torch.no_grad()
    def look(self, rule: LearningRule, step: int) -> None:
        """Looks at a rule's last batch, weights and lateral matrices; all processes must look, and find the same.

        Args:
            rule: the rule.
            step: training steps taken, for the sentence.

        Raises:
            UserError: something has failed (unless ``warn_only``).
        """
        seen = [(what, tensor, cure) for what, tensor, cure in self._tensors(rule) if tensor.numel()]
        mine = torch.stack([tensor.abs().max().float() for _, tensor, _ in seen])
        of_all = gather(mine).amax(0).tolist()  # a process may have but its share of the states
        for (what, _, cure), largest in zip(seen, of_all, strict=True):
            if not largest <= self.limit:
                problem = f"has a magnitude of {largest:.3g}" if largest > self.limit else "is not finite"
                self._fail("magnitude", f"{what} {problem} at step {step}: {cure}.")
        for name, phase in rule.phases.items():
            if not phase.previous:
                continue
            speeds = phase.speeds()
            residual = float(speeds.amax())
            if not residual <= self.residual_limit:
                layer = 1 + int(speeds.nan_to_num(nan=float("inf")).argmax())
                self._fail(
                    "residual",
                    f"The {name} phase has not settled at step {step}: layer {layer} still moves, with a residual of"
                    f" {residual:.3g} (limit {self.residual_limit:g}): lower step_size.",
                )
        for name, module in rule.named_modules():
            if not isinstance(module, InverseCorrelation) or not bool(module.weight.isfinite().all()):
                continue
            symmetric = (module.weight + module.weight.t()) / 2  # what zᵀ B z is of, where a rule leaves B asymmetric
            if not _positive_definite(symmetric):
                smallest = float(torch.linalg.eigvalsh(symmetric)[0])
                self._fail(
                    "B",
                    f"B{_of_layer(name) or f' ({name})'} is no longer positive definite at step {step} (smallest"
                    f" eigenvalue {smallest:.3g}): raise forgetting_factor, set regularize_lateral: true, or lower"
                    " what else moves B (lateral_decorrelation).",
                )

    def _fail_collapsed(self, step: int, when: str) -> None:
        self._fail(
            "collapse",
            f"The network has collapsed at step {step}: {self._how} in the last layer, in {when}; lower the learning"
            " rates or step_size, or make the rates fall more slowly.",
        )

    def _tensors(self, rule: LearningRule) -> Iterator[tuple[str, Tensor, str]]:
        for name, phase in rule.phases.items():
            for k, r in enumerate(phase.activity[1:], start=1):
                yield f"The activity of layer {k} in the {name} phase", r, "lower step_size or the learning rates"
        for name, parameter in rule.named_parameters():
            yield f"The weight {name}{_of_layer(name)}", parameter, "lower the learning rates"
        for name, buffer in rule.named_buffers():
            yield f"The matrix {name}{_of_layer(name)}", buffer, "raise forgetting_factor"

    def _fail(self, kind: str, sentence: str) -> None:
        if not self.warn_only:
            raise UserError(sentence)
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(sentence, stacklevel=2)


def _collapsed(output: Tensor, y: Tensor) -> str:
    """Returns how an output (n × d_L) shows collapse where the classes y (n) differ; nothing where it doesn't."""
    predicted = output.argmax(1)
    if bool((output.max(1).values - output.min(1).values <= 1e-6 * output.abs().max(1).values).all()):
        return "all classes get the same output"
    constant = bool((predicted == predicted[0]).all()) and bool((y != y[0]).any())
    return f"every sample is classified as {int(predicted[0])}" if constant else ""


def _of_layer(name: str) -> str:
    """Returns `` of layer 2`` for what a network has by layer, as ``network.wiring.2.weight``; skips say from where."""
    found = re.search(r"\b(?:wiring|lateral)\.(\d+)(?:_from_(\d+))?(?:\.|$)", name)
    if found is None:
        return ""
    return f" of layer {found[1]}" + ("" if found[2] is None else f" from layer {found[2]}")


def _positive_definite(B: Tensor) -> bool:
    shifted = B.clone()
    shifted.diagonal().add_(1e-3 * B.diagonal().mean())
    return int(torch.linalg.cholesky_ex(shifted).info) == 0
