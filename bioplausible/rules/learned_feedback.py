"""Feedback weights that learn what the forward weights beside them learn (Kolen & Pollack 1994)."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from bioplausible.network import Connection


def taught_alike(
    updates: Iterable[tuple[Tensor, Tensor]], connections: Sequence[Connection]
) -> Iterable[tuple[Tensor, Tensor]]:
    """Yields each parameter with its update, and before a W with a V of its own that V with the same one."""
    own = {id(c.weight): c.feedback_weight for c in connections if c.weight is not None and not c.is_tied}
    for parameter, update in updates:
        if id(parameter) in own:
            yield own[id(parameter)], update.clone()  # the sign of what is yielded is turned in place
        yield parameter, update


def decay_(connections: Sequence[Connection], factor: float, feedback: bool) -> None:
    """Multiplies every W by a factor, and every V of its own where that is asked for."""
    for c in connections:
        if c.weight is not None:
            c.weight.mul_(factor)
            if feedback and not c.is_tied:
                c.feedback_weight.mul_(factor)
