"""Options that several rules take."""

from bioplausible.errors.checks import require

MOST_STEPS = 10**6
"""Iterations of a phase."""


def require_steps(name: str, steps: int) -> None:
    """Raises a :class:`bioplausible.UserError` unless this is a number of iterations that a phase can take."""
    require(1 <= steps <= MOST_STEPS, f"{name} is {steps}: a phase takes at least one iteration, at most {MOST_STEPS}.")


def per_layer(name: str, rates: float | list[float] | None, count: int, first: int) -> list[float | None]:
    """Returns one rate per layer first … first + count − 1; None stands for the optimizer's own.

    Raises:
        UserError: the list has another length, or a rate is negative.
    """
    if rates is None or isinstance(rates, (int, float)):
        require(rates is None or rates >= 0, f"{name} is {rates}: a rate must not be negative.")
        return [rates] * count
    require(
        len(rates) == count,
        f"{name} has {len(rates)} entries: give one number, or one per layer {first} … {first + count - 1}"
        f" ({count} in all).",
    )
    require(all(r is None or r >= 0 for r in rates), f"{name} is {rates}: a rate must not be negative.")
    return list(rates)


def rate(lr: float | None) -> dict[str, float]:
    """Returns a parameter group's own learning rate; nothing where the optimizer's holds."""
    return {} if lr is None else {"lr": lr}
