"""Relaxations through torch.compile."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.errors import UserError
from bioplausible.training.phase import Phase


class CompileRelaxation(Callback):
    """Compiles the rule's relaxation with ``torch.compile``: the same results within rounding, in fewer kernels.

    Compiling takes up to a minute for each kind of phase. Where no compiler works, one line says so and the relaxation
    runs as it is. What it saves is in `tests/benchmarks/README.md`.

    Raises:
        UserError: the rule has no relaxation, as backpropagation has none.
    """

    def __init__(self) -> None:
        self._tried: LightningModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replaces the rule's ``relax`` by its compiled form, once."""
        relax = getattr(pl_module, "relax", None)
        if relax is None:
            raise UserError(f"{type(pl_module).__name__} has no relaxation to compile: leave out CompileRelaxation.")
        if self._tried is pl_module:  # for another stage
            return
        self._tried = pl_module
        try:
            torch.compile(torch.sin)(torch.zeros(8))
        except Exception as error:  # each backend raises its own
            reason = str(error).strip().splitlines()[0]
            print(f"torch.compile does not work here, so relaxations run uncompiled ({reason})")
            return
        compiled: Callable[..., Phase] = torch.compile(relax)

        def relax_compiled(start: Phase, *args: Any, **options: Any) -> Phase:
            # states stored neuron by neuron would break the compiled graph in each iteration
            start = replace(start, activity=[a.contiguous() for a in start.activity])
            return compiled(start, *args, **options)

        pl_module.relax = relax_compiled  # type: ignore[assignment]
