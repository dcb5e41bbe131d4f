"""Step sizes of the neural dynamics."""

from typing import Literal, get_args

from bioplausible.errors import UserError
from bioplausible.errors.checks import require

StepSizeRule = Literal["constant", "divide_by_loop_index", "divide_by_slow_loop_index"]


def step_sizes(steps: int, *, start: float, rule: StepSizeRule, floor: float, decay: float) -> list[float]:
    """Returns the step size η_t of every iteration t = 0 … steps − 1 of one phase.

    ======================================  ================================
    ``"constant"``                          η_t = η
    ``"divide_by_loop_index"``              η_t = max(η / (t + 1), η_stop)
    ``"divide_by_slow_loop_index"``         η_t = max(η / (c t + 1), η_stop)
    ======================================  ================================

    Args:
        steps: number of iterations of the phase.
        start: η, in units of the neural time constant.
        rule: one of the three names above.
        floor: η_stop, never undercut by the two decaying rules.
        decay: c of the slow rule.

    Raises:
        UserError: the rule has another name, or floor or decay is negative.
    """
    for name, value in (("step_size_floor", floor), ("step_size_decay", decay)):
        require(value >= 0, f"{name} is {value}: it must not be negative.")
    if rule == "constant":
        return [start] * steps
    if rule == "divide_by_loop_index":
        return [max(start / (t + 1), floor) for t in range(steps)]
    if rule == "divide_by_slow_loop_index":
        return [max(start / (decay * t + 1), floor) for t in range(steps)]
    raise UserError(f"step_size_rule is {rule!r}: choose one of {', '.join(get_args(StepSizeRule))}.")
