"""Learning-rate schedules."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bioplausible.errors import UserError
from bioplausible.errors.checks import require


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


class WarmupCosine(LRScheduler):
    """A linear rise, then half a cosine, then nothing more: a schedule that may end before training does.

    With w = ``warmup_steps`` and T = ``total_steps``, counted as ``lr_scheduler_interval`` says::

        t < w:        lr(t) = lr(0) (1 + (peak − 1) t / w)
        w ≤ t < T:    lr(t) = floor + (peak lr(0) − floor) (1 + cos(π (t − w) / (T − w))) / 2
        t ≥ T:        lr(t) = floor

    torch's ``CosineAnnealingLR`` rises again after its T_max.

    Args:
        optimizer: its rates at the start are lr(0), one per parameter group.
        total_steps: T, at least 1.
        floor: the last rate, one number or one per parameter group.
        warmup_steps: w < T; 0 starts with the cosine.
        peak: the highest rate in units of lr(0).
        last_epoch: as in ``torch.optim.lr_scheduler``.

    Raises:
        UserError: an argument is outside its range, or there are more or fewer floors than parameter groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        floor: float | list[float] = 0.0,
        warmup_steps: int = 0,
        peak: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        floors = list(floor) if isinstance(floor, (list, tuple)) else [floor] * groups
        require(total_steps >= 1, f"total_steps is {total_steps}: the schedule takes at least one step.")
        require(
            0 <= warmup_steps < total_steps,
            f"warmup_steps is {warmup_steps}: it must not be negative, and less than total_steps ({total_steps}).",
        )
        require(
            len(floors) == groups,
            f"floor has {len(floors)} entries: give one number, or one per parameter group, {groups}.",
        )
        require(all(0 <= f < math.inf for f in floors), f"floor is {floor}: a rate must be finite and not negative.")
        require(0 < peak < math.inf, f"peak is {peak}: it must be positive and finite.")
        self.total_steps = total_steps
        self.floors = floors
        self.warmup_steps = warmup_steps
        self.peak = peak
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Returns the rate of every parameter group."""
        return [self._rate(lr, floor) for lr, floor in zip(self.base_lrs, self.floors, strict=True)]

    def _rate(self, lr: Any, floor: float) -> Any:
        t, w, T = self.last_epoch, self.warmup_steps, self.total_steps
        if t < w:
            return lr * (1 + (self.peak - 1) * t / w)
        if t >= T:
            return floor
        return floor + (self.peak * lr - floor) * (1 + math.cos(math.pi * (t - w) / (T - w))) / 2
