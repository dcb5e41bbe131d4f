"""Direct feedback alignment (Nøkland 2016), and its forms of Frenkel, Lefebvre & Bol (2021)."""

from math import prod
from typing import Any, Literal, get_args

from torch import Tensor

from bioplausible.network import Connection, Initialization, Sizes
from bioplausible.network.initialization import draw
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.rules.options import group, per_layer, require_choice
from bioplausible.training.phase import Phase

Signal = Literal["error", "error_sign", "target"]
Projection = Literal["input", "output"]


class DirectFeedbackAlignment(FeedforwardRule):
    r"""The output's error reaches every hidden layer at once, through a fixed random projection of its own.

    With a_k = W_k r_{k−1} + b_k, r_k = f(a_k) and the signal s, each sample's ∂C/∂r_L::

        δ_L = f′(a_L) ⊙ ∂C/∂r_L,     δ_k = f′(a_k) ⊙ D_{k+1}ᵀ s              k = 1 … L − 1
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,       Δb_k ∝ −mean(δ_k)

    ∂C/∂r_L is ŷ − y for both cross entropies, with ŷ the softmax or the logistic function of r_L, and (2/d_L)(r_L − y)
    for the mean squared error. ``signal`` may also be its sign (sDFA), or the target y itself
    (:class:`bioplausible.rules.DirectRandomTargetProjection`); the output layer learns by the true gradient always.

    Where the signal arrives (``projection``) makes no difference on dense networks but for the draw of D::

        input:   D_{k+1} is wired as layer k + 1 is, from as many channels as there are classes: a matrix (classes ×
                 d_k) where that layer is dense; where it is a convolution, a kernel (classes × channels_k × kernel ×
                 kernel) of which every output position, before pooling, carries the same signal (Sanfiz & Akrout
                 2021), so that what arrives is the same at all inner positions and smaller at the borders. The
                 error of layer k passes back through its pooling. Xavier-uniform.
        output:  D_k (classes × shape of layer k before pooling) has a weight for each class and neuron, at all
                 positions (Frenkel et al.). Pooling is passed by: each position before it is a neuron that learns,
                 with a potential a_k and f′(a_k) of its own, not the winners alone. Kaiming-uniform, ±√(6/d_k).

    D never learns, and is saved in checkpoints. Frenkel et al. do not divide the hidden layers' updates by the number
    of samples, but the output's (for the squared error and the binary cross entropy by the classes too): here all are
    means, and ``learning_rates`` gives the layers rates of their own.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        signal: what is projected.
        projection: where it arrives, at the next layer's input or at the layer's output.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    of_hidden_layers = FeedforwardRule.of_hidden_layers | {"signal", "projection"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        signal: Signal = "error",
        projection: Projection = "input",
        learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, **options)
        require_choice("signal", signal, get_args(Signal))
        require_choice("projection", projection, get_args(Projection))
        self.signal, self.projection = signal, projection
        self.network = self.build_network(initialization=initialization)
        self.learning_rates = per_layer("learning_rates", learning_rates, self.network.L, 1)
        classes = self.network.sizes[-1]
        for k in range(1, self.network.L):
            if projection == "input":
                self.register_buffer(f"D_{k + 1}", self.above(k).draw_projection(classes))
            else:
                shape = self.below(k).unpooled_shape
                self.register_buffer(f"D_{k}", draw((classes, *shape), prod(shape), classes, "kaiming"))

    def above(self, k: int) -> Connection:
        """Returns the connection from layer k to the next one."""
        return self.network.into(k + 1)[0]

    def below(self, k: int) -> Connection:
        """Returns the connection into layer k from the one before it."""
        return self.network.into(k)[0]

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_1 … n · δ_L as ``internal["delta"]``.

        Of a layer whose output the signal reaches, those before pooling.
        """
        r, kept = self.feedforward(x)
        output_error = self.loss_gradient(r[-1], target)
        s = {"error": output_error, "error_sign": output_error.sign(), "target": target}[self.signal]
        reach = self.reach_input if self.projection == "input" else self.reach_output
        δ = [reach(k, r, kept, s) for k in range(1, self.network.L)]
        return {"feedforward": Phase(r, internal={"delta": [*δ, self.output_f.slope(kept[-1]) * output_error]})}

    def reach_input(self, k: int, r: list[Tensor], kept: list[Tensor], s: Tensor) -> Tensor:
        """Returns δ_k (n × shape_k) of the signal s (n × classes) that arrives at the next layer's input."""
        return self.f.slope(kept[k]) * self.above(k).project(self.get_buffer(f"D_{k + 1}"), s)

    def reach_output(self, k: int, r: list[Tensor], kept: list[Tensor], s: Tensor) -> Tensor:
        """Returns δ_k (n × shape_k before pooling) of the signal s (n × classes) that arrives at the layer's output."""
        D = self.get_buffer(f"D_{k}")
        arriving = (s @ D.flatten(1)).view(-1, *D.shape[1:])
        if self.below(k).pool is None:
            return self.f.slope(kept[k]) * arriving
        a = self.network.unpooled_drive(k, r)
        return self.f.slope(self.f.kept(a, self.f.function(a))) * arriving

    def hebbian(self, c: Connection, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z r⟩ of W's shape, with z before pooling where the signal passes pooling by."""
        return c.correlate(post, pre) if self.projection == "input" else self.network.correlate_unpooled(c, post, pre)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each layer, named ``layer_k``, where ``learning_rates`` are given, else one for all."""
        if all(lr is None for lr in self.learning_rates):
            return super().parameter_groups()
        return group("layer", self.network.connections, self.learning_rates, "feedforward")
