"""The Trainer of the command line."""

from typing import Any

from pytorch_lightning import Trainer

from bioplausible.errors.checks import require

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": {"class_path": "bioplausible.training.loggers.RunLogger"},
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""Defaults of its options that differ from Lightning's."""


class RunTrainer(Trainer):
    """Lightning's Trainer, whose options tell a number of batches from a share: 1 is one batch, 1.0 all of them.

    Lightning declares them so too, but Python keeps one object for ``Union[int, float]`` and ``Union[float, int]``,
    whichever comes first, and jsonargparse takes the first type that fits.

    Args:
        limit_train_batches: number (int) or share (float) of the training batches of an epoch; None: all.
        limit_val_batches: the same of the validation batches.
        limit_test_batches: the same of the test batches.
        limit_predict_batches: the same of the batches to predict.
        overfit_batches: refused by this package's data: use their subset_size.
        val_check_interval: number of batches (int) or share of an epoch (float) from one validation to the next.
        options: Lightning's.

    Raises:
        UserError: fewer epochs or steps are allowed than are asked for at least; Lightning would take the fewer.
    """

    def __init__(
        self,
        *,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        for unit in ("epochs", "steps"):
            least, most = options.get(f"min_{unit}"), options.get(f"max_{unit}")
            require(
                least is None or most in (None, -1) or least <= most,
                f"min_{unit} is {least}, but max_{unit} {most} ends the run before: change one of them.",
            )
        super().__init__(
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            val_check_interval=val_check_interval,
            **options,
        )
