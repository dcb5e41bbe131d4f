"""The step in which all rules learn: phases, updates, and the optimizer that moves the weights by them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from bioplausible.errors import UserError
from bioplausible.lightning_internals import count_batch
from bioplausible.rules.contract import RuleContract
from bioplausible.training.data_parallel import batch_size, join, positions, processes
from bioplausible.training.exchange import averaged, exchanged
from bioplausible.training.optimization import hold_frozen, leave_alone_others, not_moved, put_back, step_optimizer
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.pieces import settle_in_pieces

OURS = ("bioplausible.", "pytorch_lightning.", "lightning_fabric.", "torch.")
"""Packages whose classes a rule or wiring of this package consists of."""


@cache
def is_of_the_package(cls: type[Any]) -> bool:
    """Returns whether no part of a rule's or wiring's class is a user's own: nothing but the step holds an update."""
    return all(part.__module__.startswith(OURS) for part in cls.__mro__ if issubclass(part, nn.Module))


class LearningStep(RuleContract):
    """A rule as it learns a batch: the same for each, whatever it fills in (:class:`RuleContract`)."""

    @torch.no_grad()
    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Settles, moves every weight by its local update, and returns the phases that it learned from.

        Args:
            x: input (n × shape_0) of this process's share of the batch.
            target: its one-hot target y (n × d_L).
            optimizer: one over :meth:`parameter_groups`.

        Raises:
            UserError: every parameter is frozen (``requires_grad`` is False), or an update is of what the optimizer
                does not move.
        """
        samples = batch_size(x)
        frozen = hold_frozen(optimizer, type(self).__name__)
        if samples < processes():  # not every process has one: each settles them all, and none has to settle nothing
            x, target = join([x, target])
        settle = self._settle_in_turn(positions(len(x), samples))
        with self.network.weights_held() as weights_changed:
            phases = settle_in_pieces(settle, x, target, *self.network.settling)
            if len(x) < samples:
                phases = exchanged(self, phases, samples, self.exchange)
            self._follow(phases, optimizer, frozen, weights_changed)
        self.update_state(phases, optimizer)
        put_back(frozen)
        return phases

    def _follow(
        self,
        phases: Phases,
        optimizer: torch.optim.Optimizer,
        frozen: Mapping[int, tuple[Tensor, Tensor]],
        weights_changed: Callable[[], None],
    ) -> None:
        """Moves the weights by each of the batch's updates, the next of which comes from the weights as they are then.

        What each parameter last got stays in its ``grad`` until the next batch's updates, for callbacks to read.
        """
        own = all(is_of_the_package(cast(Any, type(part))) for part in (self, *self.network.connections))
        of_optimizer = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trainer = self.trainer if isinstance(optimizer, LightningOptimizer) else None
        moved: dict[int, tuple[Tensor, Tensor]] = {}  # parameters and gradients by id: to hash a tensor takes longer
        latest: dict[int, tuple[Tensor, Tensor]] = {}
        leave_alone_others(optimizer, moved)  # the last batch's updates make room for this one's, in the same cache
        for number, updates in enumerate(self.updates(phases)):
            moved = {}
            for parameter, update in averaged(updates, phases):
                i = id(parameter)
                if i not in of_optimizer:
                    raise UserError(not_moved(self, parameter))
                if i in frozen:
                    continue
                # a user's rule may keep its update, or give it to two parameters
                gradient = update.neg_() if own else -update
                if i in moved:  # as where layers share a parameter
                    gradient += moved[i][1]
                parameter.grad = gradient
                moved[i] = parameter, gradient
            leave_alone_others(optimizer, moved)
            latest |= moved
            if number == 0:
                self.decay_weights()
            step_optimizer(optimizer, self.gradient_norm_limit, trainer)
            put_back(frozen)
            weights_changed()
        for parameter, gradient in (latest[i] for i in latest.keys() - moved.keys()):
            parameter.grad = gradient
        if trainer is not None:
            count_batch(trainer)

    def _settle_in_turn(self, positions: range) -> Callable[[Tensor, Tensor], dict[str, Phase]]:
        """Returns :meth:`settle` for the pieces of a batch, one after the other, whose samples have these positions."""
        left = positions

        def settle(x: Tensor, target: Tensor) -> dict[str, Phase]:
            nonlocal left
            self._positions.append(left[: len(x)])
            left = left[len(x) :]
            try:
                return self.settle(x, target)
            finally:
                self._positions.pop()

        return settle
