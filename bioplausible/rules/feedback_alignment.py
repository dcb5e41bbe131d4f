"""Feedback alignment (Lillicrap, Cownden, Tweed & Akerman 2016) and sign symmetry (Liao, Leibo & Poggio 2016)."""

from typing import Any, Literal

import torch
from torch import Tensor

from bioplausible.network import Initialization
from bioplausible.rules.backpropagation import FeedforwardRule, Loss, backward
from bioplausible.rules.options import refuse_without_way_back, require_choice
from bioplausible.training.phase import Phase
from bioplausible.training.randomness import generator, mix

FixedFeedback = Literal["fixed", "uniform_sign", "fixed_random_sign", "batchwise_random_sign"]


class FeedbackAlignment(FeedforwardRule):
    r"""Backpropagation whose errors go down through weights V_{k+1} of their own instead of W_{k+1}.

    δ_k = f′(a_k) ⊙ V_{k+1}ᵀ δ_{k+1};  all else as in backpropagation. V has W's layout and initialization, never
    learns, and is saved in checkpoints. Its kinds (``feedback``)::

        fixed                   V fixed and random                           (feedback alignment)
        uniform_sign            V = c_k sign(W_k)                            (uSF)
        batchwise_random_sign   V = |M_k| ⊙ sign(W_k), M drawn each batch     (brSF)
        fixed_random_sign       V = |M_k| ⊙ sign(W_k), M fixed                (frSF)

    with the current W, and c_k the standard deviation of W's initialization: √(2/(fan_in + fan_out)) for ``xavier``.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: the cost whose error is sent down.
        feedback: the kind of V.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self,
        layer_sizes: list[int] | None = None,
        loss: Loss = "mean_squared_error",
        feedback: FixedFeedback = "fixed",
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, loss, **options)
        require_choice("feedback", feedback, ("fixed", "uniform_sign", "fixed_random_sign", "batchwise_random_sign"))
        self.feedback = feedback
        self.network = self.build_network(feedback=feedback, initialization=initialization)
        refuse_without_way_back(self, ["feedback"])

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_1 … n · δ_L as ``internal["delta"]``."""
        return {"feedforward": backward(self, x, target)}

    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Draws what each batch draws anew, then settles and learns."""
        if self.feedback == "batchwise_random_sign":
            self.network.redraw_feedback(generator(mix(self.seed, 1), self.step))
        return super().learn(x, target, optimizer)
