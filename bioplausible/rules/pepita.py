"""PEPITA: error-driven input modulation (Dellaferrera & Kreiman 2022)."""

from collections.abc import Iterable
from math import prod
from typing import Any

from torch import Tensor

from bioplausible.errors.checks import LARGEST, require
from bioplausible.functional import placed
from bioplausible.network import Convolution, Initialization, Sizes
from bioplausible.network.initialization import draw
from bioplausible.rules.backpropagation import FeedforwardRule, Loss
from bioplausible.rules.options import group, per_layer
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import mix, uniform


class PEPITA(FeedforwardRule):
    r"""Two forward passes, the second on an input to which the first one's error is added; nothing comes back.

    With r_k = f(W_k r_{k−1}), no biases, and e = ∂C/∂r_L of each sample, for the cross entropy π − y::

        first pass:    r_0 = x,              r_1 … r_L,   e
        second pass:   r'_0 = x + e Fᵀ,      r'_1 … r'_L, e'                   F (d_0 × classes) fixed and random
        ΔW_k = −⟨(r_k − r'_k) r'_{k−1}⟩   k = 1 … L − 1,       ΔW_L = −⟨(f′(a'_L) ⊙ e') r'_{L−1}⟩

    A synapse knows its presynaptic activity in the second pass and how its postsynaptic neuron changed from one pass
    to the other, so neurons remember the first; the error reaches the input alone. F is He-uniform, ±√(6/d_0), times
    ``projection_scale``, never learns, and is saved in checkpoints. With two linear layers and F = −s W_1⁺ W_2ᵀ, ΔW_1/s
    tends to backpropagation as s → 0.

    Dropout silences each hidden unit with its probability for a batch, the same units in both passes and for all
    samples, a function of the seed and the step, and multiplies the others by 1/keep; an evaluation has none. The
    published code draws a mask for each sample; one of its forms multiplies r − r' by the mask once more, which is the
    rates of the hidden layers times 1/keep.

    On images the neurons are those before pooling, of f(W_k * r_{k−1}): all positions learn, not the winners alone, and
    ΔW sums over them. ``published_convolution`` is what the published code does with convolutions instead: it adds
    ΔW_k, where the dense rule subtracts, takes the mean over positions, divides by the number of samples twice, and
    its output learns from the first pass's e. The sign is that of no descent, so the default is the dense rule's.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: the cost whose error is added to the input.
        projection_scale: of F, above 0.
        dropout: probability in [0, 1) that a hidden unit is silent in a batch.
        published_convolution: whether layers of images learn as in the published code, for networks that convolve.
        learning_rates: rate of W_k, one number or one per layer 1 … L; None: the optimizer's own.
        initialization: of W (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    F: Tensor

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "cross_entropy",
        projection_scale: float = 0.05,
        dropout: float = 0.0,
        published_convolution: bool = False,
        learning_rates: float | list[float] | None = None,
        initialization: Initialization = "kaiming",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, loss, **options)
        require(
            1 / LARGEST <= projection_scale <= LARGEST,
            f"projection_scale is {projection_scale}: it must be positive, or no error reaches the input.",
        )
        require(0 <= dropout < 1, f"dropout is {dropout}: it is a probability below 1, so it must lie in [0, 1).")
        self.dropout, self.published_convolution = dropout, published_convolution
        self.network = self.build_network(bias=False, initialization=initialization)
        L, d, classes = self.network.L, self.network.sizes[0], self.network.sizes[-1]
        require(
            not published_convolution or any(isinstance(c, Convolution) for c in self.network.connections),
            "published_convolution is how convolutions learn, and the network has none: leave it out.",
        )
        require(dropout == 0 or L > 1, f"dropout is {dropout}, but the network has no hidden layer: leave it out.")
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        self.register_buffer("F", projection_scale * draw((d, classes), d, classes, "kaiming"))

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``first`` and ``second``.

        Each with the hidden neurons before pooling as ``internal["neurons"]``, and with what the output learns from,
        f′(a_L) ⊙ e, as ``internal["output_error"]``.
        """
        masks = [placed(mask, x) for mask in self.draw_masks()]
        first, e = self.one_pass(x, target, masks)
        second, _ = self.one_pass(x + (e @ self.F.t()).view_as(x), target, masks)
        return {"first": first, "second": second}

    def draw_masks(self) -> list[Tensor]:
        """Returns what multiplies the hidden layers in this batch (1 × shape_k), 0 or 1/keep; none without dropout."""
        keep, hidden = 1 - self.dropout, self.network.shapes[1:-1] if self.dropout else []
        draws = (uniform(mix(self.seed, 2 + i), self.step, 1, *s) for i, s in enumerate(hidden))
        return [(u < keep).double() / keep for u in draws]

    def one_pass(self, x: Tensor, target: Tensor, masks: list[Tensor]) -> tuple[Phase, Tensor]:
        """Returns where a forward pass of x (n × shape_0) ends, hidden layers multiplied by the masks, and e."""
        network, L, r, neurons = self.network, self.network.L, [x], []
        for k in range(1, L):
            main, a = network.into(k)[0], network.unpooled_drive(k, r)
            h = self.f.function(a)
            layer = h if main.pool is None else self.f.function(main.pooled(a)[0])
            if masks:
                layer = layer * masks[k - 1]
                h = layer if main.pool is None else h * main.pool.spread_rest(masks[k - 1], *h.shape[2:])
            r.append(layer)
            neurons.append(h)
        a = network.drive(L, r)
        r.append(self.output_f.function(a))
        e = self.loss_gradient(r[L], target)
        δ = self.output_f.slope(self.output_f.kept(a, r[L])) * e
        return Phase(r, internal={"neurons": neurons, "output_error": [δ]}), e

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with −⟨(r_k − r'_k) r'_{k−1}⟩, and W_L with −⟨(f′(a'_L) ⊙ e') r'_{L−1}⟩."""
        first, second = phases["first"], phases["second"]
        of_output = first if self.published_convolution else second
        for c in self.network.weighted:
            weight, pre = c.weight, second.activity[c.pre]
            assert weight is not None
            if c.post == self.network.L:
                yield weight, c.correlate(-of_output.internal["output_error"][0], pre)
                continue
            before, after = (phase.internal["neurons"][c.post - 1] for phase in (first, second))
            product = self.network.correlate_unpooled(c, after - before, pre)
            if self.published_convolution and after.ndim > 2:
                product /= -prod(after.shape[2:]) * first.batch_size
            yield weight, product

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each layer, named ``layer_k``, where ``learning_rates`` are given, else one for all."""
        if all(lr is None for lr in self.learning_rates):
            return super().parameter_groups()
        return group("layer", self.network.connections, self.learning_rates, "feedforward")
