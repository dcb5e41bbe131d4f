"""Learning-rate schedules."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bioplausible.errors import UserError


class PiecewisePower(LRScheduler):
    """The published schedule of CorInfoMax: lr(e) = lr(0) · b(e)^e, with a base b that changes at given epochs.

    As published, the power is that of the absolute epoch e, so the rate jumps where the base changes: 0.95^e up to
    epoch 14 and 0.9^e from 15 on falls from 0.95^14 = 0.49 to 0.9^15 = 0.21. ``continuous=True`` multiplies the rate by
    the current base once an epoch instead.

    Args:
        optimizer: its rates at the start are lr(0), one per parameter group.
        bases: base by first epoch (0-based), for example ``{0: 0.95, 15: 0.9}``.
        continuous: whether to compound the bases, so that nothing jumps.
        last_epoch: as in ``torch.optim.lr_scheduler``.

    Raises:
        UserError: no base for epoch 0, or a base that is not positive and finite.
    """

    def __init__(
        self, optimizer: Optimizer, bases: dict[int, float], continuous: bool = False, last_epoch: int = -1
    ) -> None:
        if 0 not in bases or min(bases) < 0 or not all(0 < base < math.inf for base in bases.values()):
            raise UserError(f"bases is {bases}: give positive, finite bases by first epoch, starting with epoch 0.")
        self.bases = dict(sorted(bases.items()))
        self.continuous = continuous
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch: int) -> float:
        """Returns lr(epoch) / lr(0)."""

        def base(e: int) -> float:
            return [b for first, b in self.bases.items() if first <= e][-1]

        if not self.continuous:
            return float(base(epoch) ** epoch)
        product = 1.0
        for e in range(1, epoch + 1):
            product *= base(e)
        return product

    def get_lr(self) -> list[Any]:
        """Returns the rate of every parameter group."""
        return [lr * self.factor(self.last_epoch) for lr in self.base_lrs]
