"""How far a relaxation is from its fixed point."""

import torch
from torch import Tensor

from bioplausible.functional.complex_numbers import squares


def mean_square_changes(current: list[Tensor], previous: list[Tensor]) -> list[Tensor]:
    """Returns ⟨|r_k(T) − r_k(T−1)|²⟩ of each layer, the mean over its samples and units.

    Args:
        current: activities r_k(T), each (n × d_k).
        previous: activities r_k(T − 1), each (n × d_k).
    """
    return [squares(now - before).mean() for now, before in zip(current, previous, strict=True)]


def residual(current: list[Tensor], previous: list[Tensor], step_size: float) -> Tensor:
    """Returns the speed at which the last iteration still moved: max_k RMS(r_k(T) − r_k(T−1)) / η_T.

    The root mean square is over the samples and units of a layer, the maximum over the layers; zero at a fixed point,
    in units of activity per unit of neural time.

    Args:
        current: activities r_k(T), each (n × d_k).
        previous: activities r_k(T − 1), each (n × d_k).
        step_size: η_T > 0.
    """
    return torch.stack(mean_square_changes(current, previous)).sqrt().amax() / step_size
