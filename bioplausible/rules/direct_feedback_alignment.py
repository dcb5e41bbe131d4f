"""Direct feedback alignment (Nøkland 2016)."""

from typing import Any

from torch import Tensor

from bioplausible.network import Connection, Initialization
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.training.phase import Phase


class DirectFeedbackAlignment(FeedforwardRule):
    r"""The output's error reaches every hidden layer at once, through a fixed random projection of its own.

    With a_k = W_k r_{k−1} + b_k and r_k = f(a_k)::

        δ_L = f′(a_L) ⊙ ∂C/∂r_L,     δ_k = f′(a_k) ⊙ D_{k+1}ᵀ δ_L            k = 1 … L − 1
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,       Δb_k ∝ −mean(δ_k)

    D_{k+1} is wired as layer k + 1 is, from as many channels as there are classes: a matrix (classes × d_k) where that
    layer is dense; where it is a convolution, a kernel (classes × channels_k × kernel × kernel) of which every output
    position, before pooling, carries the same error (Sanfiz & Akrout 2021), so that the error is the same at all inner
    positions and smaller at the borders. D is Xavier-uniform, never learns, and is saved in checkpoints.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self, layer_sizes: list[int] | None = None, initialization: Initialization = "xavier", **options: Any
    ) -> None:
        super().__init__(layer_sizes, **options)
        self.network = self.build_network(initialization=initialization)
        classes = self.network.sizes[-1]
        for k in range(1, self.network.L):
            self.register_buffer(f"D_{k + 1}", self.above(k).draw_projection(classes))

    def above(self, k: int) -> Connection:
        """Returns the connection from layer k to the next one."""
        return self.network.into(k + 1)[0]

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_1 … n · δ_L as ``internal["delta"]``."""
        r, kept = self.feedforward(x)
        output_error = self.loss_gradient(r[-1], target)
        δ = [
            self.f.slope(kept[k]) * self.above(k).project(self.get_buffer(f"D_{k + 1}"), output_error)
            for k in range(1, self.network.L)
        ]
        δ.append(self.output_f.slope(kept[-1]) * output_error)
        return {"feedforward": Phase(r, internal={"delta": δ})}
