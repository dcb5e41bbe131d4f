"""Relaxations through torch.compile."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.network import Clamped
from bioplausible.training.phase import Phase


class CompileRelaxation(Callback):
    """Compiles the rule's relaxations with ``torch.compile``: the same results within rounding, in fewer kernels.

    These are its methods ``relax`` and ``relax_…``. Compiling takes up to a minute for each kind of phase; while a
    callback watches the iterations, or where states are complex, they run uncompiled. Where no compiler works, one line
    says so and relaxations run as they are. What it saves is in `tests/benchmarks/README.md`.

    Raises:
        UserError: the rule has no relaxation, as backpropagation has none.
    """

    def __init__(self) -> None:
        self._tried: LightningModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replaces the rule's relaxations by their compiled forms, once."""
        methods = type(pl_module)
        names = [n for n in dir(methods) if f"{n}_".startswith("relax_") and callable(getattr(methods, n))]
        if not names:
            raise UserError(f"{methods.__name__} has no relaxation to compile: leave out CompileRelaxation.")
        if self._tried is pl_module:  # for another stage
            return
        self._tried = pl_module
        try:
            torch.compile(torch.sin)(torch.zeros(8))
        except Exception as error:  # each backend raises its own
            reason = str(error).strip().splitlines()[0]
            print(f"torch.compile does not work here, so relaxations run uncompiled ({reason})")
            return
        for name in names:
            relax = getattr(pl_module, name)
            if not isinstance(relax, CompiledRelaxation):  # by another Trainer's callback
                setattr(pl_module, name, CompiledRelaxation(pl_module, relax))


class CompiledRelaxation:
    """A relaxation of a rule, compiled: one for each rule, so that copies and pickles of a rule leave it out.

    Args:
        rule: the rule.
        relax: its relaxation.
    """

    def __init__(self, rule: Any, relax: Callable[..., Phase]) -> None:
        self._rule, self._relax = rule, relax
        self._compiled: Callable[..., Phase] = torch.compile(relax)

    def __call__(self, network: Clamped, start: Phase, *args: Any, **options: Any) -> Phase:
        """Relaxes."""
        # what watches would be compiled too, anew each time, and there is no code generator for complex states
        if self._rule.watch is not None or start.output.is_complex():
            return self._relax(network, start, *args, **options)
        # states stored neuron by neuron would break the compiled graph in each iteration
        start = replace(start, activity=[_stored_by_sample(a) for a in start.activity])
        return self._compiled(network, start, *args, **options)


def _stored_by_sample(a: Tensor) -> Tensor:
    """Returns a state (n × …) as :func:`bioplausible.functional.silence` stores it where this is compiled."""
    return a.contiguous(memory_format=torch.channels_last if a.ndim == 4 else torch.contiguous_format)
