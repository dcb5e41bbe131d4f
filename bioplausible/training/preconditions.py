"""What a rule needs of the run that it trains in."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.network import Connection, Lateral, Network
from bioplausible.training.monitored import refuse_search, require_average, require_monitored
from bioplausible.training.randomness import run_seed


class Preconditions(Callback):
    """Checks that data, precision and strategy suit a learning rule before it runs, and fixes its seed."""

    def __init__(self) -> None:
        self._search_has_begun = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks the run, and brings the rule to the run's precision.

        Raises:
            UserError: the input or output is not the data's, the precision is below float32, or several processes share
                more than the batch.
        """
        self._search_has_begun = False
        require_shared_batch(trainer)
        require_precision(trainer, pl_module)
        for module in pl_module.modules():
            if isinstance(module, (Connection, Lateral)):
                module.product_dtype = torch.bfloat16 if trainer.precision == "bf16-mixed" else None
        if trainer.precision == "64-true":
            pl_module.double()  # Trainer would only after it has loaded the checkpoint, rounded to float32
        require_fitting_data(cast(Any, pl_module).network, getattr(trainer, "datamodule", None))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes that a search for a batch size has begun: it writes a checkpoint, to which it returns."""
        self._search_has_begun = True

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Checks that training which resumes searches for nothing.

        Raises:
            UserError: it does.
        """
        if trainer.state.fn == TrainerFn.FITTING and not self._search_has_begun:
            refuse_search(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fixes the seed of the draws: the one given to ``seed_everything``, else the checkpoint's, else torch's.

        Raises:
            UserError: an interval between validations is 0, by which Trainer would divide, or a callback or the
                schedule monitors what is not logged.
        """
        require_monitored(trainer, pl_module)
        require_average(trainer)
        tell_of_averages(trainer, pl_module)
        for name in ("val_check_interval", "check_val_every_n_epoch"):
            require(getattr(trainer, name) != 0, f"{name} is 0: give another interval, or leave it out.")
        given, rule = run_seed(), cast(Any, pl_module)
        if given is not None:
            rule.seed = given
        elif trainer.ckpt_path is None:
            rule.seed = trainer.strategy.broadcast(torch.initial_seed())


def tell_of_averages(trainer: Trainer, rule: LightningModule) -> None:
    """Warns where averages leave lateral matrices out: Lightning averages what an optimizer moves."""
    averages = any(isinstance(c, StochasticWeightAveraging) for c in cast(Any, trainer).callbacks)
    if averages and any(isinstance(module, Lateral) for module in rule.modules()):
        rank_zero_warn(
            "StochasticWeightAveraging averages the weights alone: lateral matrices stay those of the last step, beside"
            " which the averaged weights never settled. EMAWeightAveraging averages both."
        )


def require_shared_batch(trainer: Trainer) -> None:
    """Raises a :class:`bioplausible.UserError` where several processes share more than the batch."""
    strategy = trainer.strategy
    splits_batch = isinstance(strategy, DDPStrategy) and not isinstance(strategy, DeepSpeedStrategy)
    require(
        trainer.world_size == 1 or splits_batch,
        f"the strategy {type(strategy).__name__} splits the network or its optimizer over the processes: use"
        " --trainer.strategy ddp, which splits the batch.",
    )


def require_precision(trainer: Trainer, rule: LightningModule) -> None:
    """Raises a :class:`bioplausible.UserError` where the precision of a run or of its weights is below float32."""
    require(
        trainer.precision in ("32-true", "64-true", "bf16-mixed"),
        f"precision is {trainer.precision}: small updates vanish in its range, and there is no loss whose scaling could"
        " save them, so choose 32-true, 64-true or bf16-mixed.",
    )
    for name, tensor in [*rule.named_parameters(), *rule.named_buffers()]:
        require(
            tensor.dtype not in (torch.float16, torch.bfloat16),
            f"{name} is {str(tensor.dtype).removeprefix('torch.')}: small updates vanish in its range, so call"
            " rule.float() first.",
        )


def require_fitting_data(network: Network, data: Any) -> None:
    """Checks a network against a data module, as far as that says what it holds.

    Raises:
        UserError: the first layer has not the images' shape or number of values, or the last one not a unit a class.
    """
    first, classes = network.shapes[0], network.sizes[-1]
    size, expected = network.sizes[0], getattr(data, "input_size", network.sizes[0])
    image_shape = tuple(getattr(data, "image_shape", first))
    of_data = f"{type(data).__name__} has"
    hidden = _if_all_are_hidden(network, expected, getattr(data, "num_classes", classes))
    if size != expected:
        raise UserError(
            f"The network's input has {size} values, but {of_data} {expected} values a sample: set the first size to"
            f" {expected}, or the first entry of network to {list(image_shape)}{hidden}."
        )
    if len(first) == 3 and first != image_shape:
        raise UserError(
            f"The network's input is {list(first)}, but {of_data} images of {list(image_shape)}: set the first entry of"
            f" network to {list(image_shape)}."
        )
    if classes != getattr(data, "num_classes", classes):
        raise UserError(
            f"The network's output has {classes} units, but {of_data} {data.num_classes} classes: set the last size to"
            f" {data.num_classes}{hidden}."
        )


def _if_all_are_hidden(network: Network, values: int, classes: int) -> str:
    """Returns the other reading of sizes that don't fit: those of hidden layers, to which the data's are added."""
    if any(len(shape) > 1 for shape in network.shapes):
        return ""
    sizes = list(network.sizes)
    first, last = [values] * (sizes[0] != values), [classes] * (sizes[-1] != classes)
    return f", or write layer_sizes {[*first, *sizes, *last]} if what does not fit is a hidden layer"


@torch.no_grad()
def require_finite(rule: LightningModule, step: int) -> None:
    """Checks the weights and buffers, at the end of each epoch and before each checkpoint.

    Raises:
        UserError: one is NaN or infinite: training has diverged.
    """
    for name, tensor in [*rule.named_parameters(), *rule.named_buffers()]:
        require(
            bool(tensor.isfinite().all()),
            f"Training has diverged: {name} is not finite after step {step}; lower the learning rates or"
            " step_size (the callback Guard finds out where it begins).",
        )
