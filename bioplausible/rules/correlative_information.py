"""Correlation estimates of a phase of CorInfoMax and the information that they give; nothing learns from them."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from bioplausible.functional import published_error_term, regularized_logdet, rows, update_correlation_
from bioplausible.network import Network
from bioplausible.training.phase import Phase


class CorrelativeInformation(nn.Module):
    r"""Estimates of the correlations in one phase, and the correlative information between neighbouring layers.

    With ⟨·⟩ the batch mean, every estimate starting at I, and the weights that the batch has just changed::

        R_k ← λ R_k + (1 − λ) ⟨r_k r_k⟩                                                                    k = 1 … L
        forward:   R_e ← λ R_e + (1 − λ) ⟨e e⟩  with e = r_k − W_k r_{k−1},  information about R = R_k      k = 1 … L
        backward:  R_e ← λ R_e + (1 − λ) ⟨e e⟩  with e = r_{k−1} − V_k r_k,  information about R = R_{k−1}  k = 2 … L

    On images W_k r_{k−1} and V_k r_k are sums over the connections into and out of a layer, R is channel × channel, and
    ⟨·⟩ the mean over positions too: the information is that of one position, P_k times as much that of the layer.

    Args:
        channels: of the layers 0 … L, d_k where they are flat.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for k, d in enumerate(channels[1:], start=1):
            self.register_buffer(f"state_{k}", torch.eye(d))
            self.register_buffer(f"forward_error_{k}", torch.eye(d))
        for k, d in enumerate(channels[1:-1], start=2):
            self.register_buffer(f"backward_error_{k}", torch.eye(d))

    def of_state(self, k: int) -> Tensor:
        """Returns R_k (d_k × d_k)."""
        return self.get_buffer(f"state_{k}")

    def learn_(self, activity: list[Tensor], network: Network, forgetting_factor: float) -> None:
        """Updates all estimates from the states r_0 … r_L of a batch, each (n × shape_k)."""
        for k, r in enumerate(activity[1:], start=1):
            update_correlation_(self.of_state(k), rows(r), forgetting_factor)
        for name, _, error in prediction_errors(activity, network):
            update_correlation_(self.get_buffer(name), rows(error), forgetting_factor)

    def information(self, phase: Phase, network: Network, epsilon: float) -> dict[str, Tensor]:
        """Returns the information in nats by ``forward_layer_k`` and ``backward_layer_k``, by two definitions.

        Under these names is the paper's (:func:`bioplausible.functional.correlative_information`); with ``published_``
        in front the published code's (:func:`bioplausible.functional.published_correlative_information`), whose errors
        are those of the states given.

        Args:
            phase: where a batch settled, or a share of it.
            network: whose W and V predict.
            epsilon: ε.
        """
        # each layer's is part of up to four informations
        of_state = {k: regularized_logdet(self.of_state(k), epsilon) for k in range(1, len(phase.activity))}
        errors = list(prediction_errors(phase.activity, network))
        squares = phase.batch_means([error.square().mean() for _, _, error in errors])
        information = {}
        for (name, predicted, error), square in zip(errors, squares, strict=True):
            key, of_error = name.replace("_error_", "_layer_"), regularized_logdet(self.get_buffer(name), epsilon)
            n, d = phase.batch_size * prod(error.shape[2:]), error.shape[1]
            information[key] = (of_state[predicted] - of_error) / 2
            information[f"published_{key}"] = of_state[predicted] - published_error_term(square, n, d, epsilon)
        return information


def prediction_errors(activity: Sequence[Tensor], network: Network) -> Iterator[tuple[str, int, Tensor]]:
    """Yields each direction's error by its name, ``forward_error_k`` or ``backward_error_k``, and the predicted layer.

    Args:
        activity: r_0 … r_L, each (n × shape_k).
        network: whose W and V predict.
    """
    for k in range(1, len(activity)):
        yield f"forward_error_{k}", k, activity[k] - network.drive(k, activity)
        if k > 1:
            yield f"backward_error_{k}", k - 1, activity[k - 1] - network.feedback(k - 1, activity, at=activity)
