"""One layer wired to another: what every wiring can do, from the one thing that a wiring must say of itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bioplausible.errors.checks import LARGEST, require
from bioplausible.functional import both_parts, placed, through_both_parts, vector_jacobian
from bioplausible.lightning_internals import times_changed
from bioplausible.network.initialization import BIASES_START_AT_0, Initialization, draw, draw_bias
from bioplausible.network.pooling import Pooling
from bioplausible.network.wires import Wires

Direction = Literal["feedforward", "feedback"]
Feedback = Literal["tied", "learned", "fixed", "uniform_sign", "fixed_random_sign", "batchwise_random_sign"]


class Connection(nn.Module, ABC):
    """A presynaptic layer wired to a postsynaptic one through weights W, with pooling Q and a bias b.

    A wiring is one method, :meth:`transform`: r ↦ W * r, linear in W and in r. All else follows from it, by automatic
    differentiation where a wiring does not override the default with something faster::

        feedforward(r)         = Q(W * r) + b
        adjoint(z, at)         = Wᵀ ⊛ Qᵀ z            ⟨W * r, z⟩ = ⟨r, Wᵀ ⊛ z⟩
        feedback(z, at)        = Vᵀ ⊛ Qᵀ z            V is stored in W's layout; tied: V is W
        correlate(z, r)        = ⟨Qᵀ z ⋆ r⟩            mean over samples, sum over positions
        bias_update(z)         = mean_n Σ_p z

    Max pooling passes on the winners of W * at, where ``at`` is the presynaptic activity of the same moment.

    Where V comes from (``feedback``): ``tied``: V = W. ``learned``: weights of its own, a parameter. ``fixed``: random
    weights, drawn as W. Sign-sharing (Liao, Leibo & Poggio 2016), V = |M| ⊙ sign(W) with the current W: M fixed
    (``fixed_random_sign``), drawn anew by :meth:`redraw_feedback` (``batchwise_random_sign``), or all entries equal
    to the standard deviation of W's initialization (``uniform_sign``).

    Args:
        pre_shape: of the presynaptic layer, (channels, height, width) or (units,).
        weight_shape: of W; None: a wiring without weights.
        pool: Q, where the wiring gives images; None: none.
        feedback: where V comes from.
        bias: whether there is a bias, one number for each postsynaptic channel.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        gain: what W and V are multiplied by where they start.
        bias_gain: what b is multiplied by there; None: as W.

    Raises:
        UserError: the pool is larger than what it pools, there is nothing to pool, or a gain is not positive or has
            nothing to act on.
    """

    pre: int
    """Number of the presynaptic layer; set by the network, as ``post``."""
    post: int

    def __init__(
        self,
        pre_shape: Sequence[int],
        weight_shape: Sequence[int] | None,
        *,
        pool: Pooling | None = None,
        feedback: Feedback = "tied",
        bias: bool = True,
        initialization: Initialization = "xavier",
        gain: float = 1.0,
        bias_gain: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("gain", gain), ("gain of the bias", 1.0 if bias_gain is None else bias_gain)):
            require(0 < value <= LARGEST, f"its {name} is {value}: it must be positive and finite")
        require(
            bias_gain is None or (bias and initialization not in BIASES_START_AT_0),
            f"its gain of the bias acts on nothing: {'biases start at 0' if bias else 'the rule has no bias'}: leave"
            " it out",
        )
        self.pre_shape = tuple(pre_shape)
        self.pool = pool
        self.product_dtype: torch.dtype | None = None
        """Lower precision of the factors of :meth:`correlate`; None: that of the activities."""
        self.winners_of: Direction = "feedforward"
        """Whose drive decides the winners of max pooling on the way back: W's, or V's own."""
        self._found: dict[Direction, tuple[Tensor, int, Tensor | None]] | None = None
        """While weights are held: by direction the last activity, how often it had changed, and its winners."""
        self._fans = (1, 1) if weight_shape is None else self.fans(weight_shape)
        self._initialization: Initialization = initialization
        self._gain = gain
        self.scale = 1.0
        """a > 0: where W and V act, a W and a V do, and ΔW is a times the Hebbian product; what is stored stays W."""
        self.weight: nn.Parameter | None = None
        self._feedback_weight: Tensor | None
        self._shares_signs = feedback.endswith("_sign")
        self._redraws = feedback == "batchwise_random_sign"
        stored: Tensor | None = None
        if weight_shape is not None:
            self.weight = nn.Parameter(self._draw(weight_shape))
            if feedback == "uniform_sign":
                stored = torch.ones(())
            elif feedback != "tied":
                stored = self._draw(weight_shape)
        if feedback == "learned" and stored is not None:
            self._feedback_weight = nn.Parameter(stored)
        else:
            self.register_buffer("_feedback_weight", stored)
        with torch.no_grad():
            weight = None if weight_shape is None else torch.empty(*weight_shape, device="meta")
            self.unpooled_shape = tuple(
                self.transform(weight, torch.empty(1, *self.pre_shape, device="meta")).shape[1:]
            )
        self.post_shape = self._pooled_shape()
        drawn = draw_bias(self.post_shape[0], self._fans[0], initialization) if bias else None
        self.bias = None if drawn is None else nn.Parameter(drawn * (gain if bias_gain is None else bias_gain))

    # ------------------------------------------------------------------------------------------- what a wiring must say

    @abstractmethod
    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns W * r (n × …) of the presynaptic activity (n × pre_shape): linear in both, without pool and bias.

        It is called once while the connection is built, to learn the shape.
        """

    def transform_adjoint(self, weight: Tensor, post: Tensor) -> Tensor:
        """Returns Wᵀ ⊛ z (n × pre_shape) of z (n × unpooled_shape)."""
        pre = post.new_zeros(len(post), *self.pre_shape)
        return vector_jacobian(lambda pre, weight: self.transform(weight, pre), pre, weight, post)

    def correlation(self, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z ⋆ r⟩, of W's shape: mean over samples, sum over positions, of z before pooling."""
        assert self.weight is not None
        like = torch.zeros_like(self.weight, dtype=pre.dtype)
        return vector_jacobian(self.transform, like, pre, post) / len(pre)

    def met(self, of_weights: Tensor) -> Tensor:
        """Returns the entries of W, or V, that meet a neuron; the others lie in the padding and do nothing."""
        return of_weights

    def fans(self, weight_shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many inputs a postsynaptic and how many outputs a presynaptic neuron has, for the initialization.

        Here of weights (post × pre × kernel …).
        """
        post, *inputs = weight_shape
        return prod(inputs), post * prod(inputs[1:])

    def projection_shape(self, channels: int) -> tuple[int, ...] | None:
        """Returns W's shape for another number of postsynaptic channels; None: the wiring has no such form."""
        return None

    def wires(self) -> Wires:
        """Returns the connection for the iterations of a relaxation, during which its weights do not change."""
        return Wires(self)

    def describe(self) -> str:
        """Returns what kind of wiring it is, for the table of the layers."""
        return f"{type(self).__name__}{self._describe_pool()}"

    # ------------------------------------------------------------------------------------------------- what rules use

    @property
    def feedback_weight(self) -> Tensor:
        """V, in W's layout."""
        assert self.weight is not None
        if self._feedback_weight is None:
            return self.weight
        if not self._shares_signs:
            return self._feedback_weight
        scale = self._standard_deviation() if self._feedback_weight.ndim == 0 else 1.0
        return self._feedback_weight.abs() * scale * self.weight.sign()

    @property
    def fan_in(self) -> int:
        """Number of inputs of a postsynaptic neuron, on images of one position."""
        return self._fans[0]

    @property
    def is_tied(self) -> bool:
        """Whether V is W."""
        return self._feedback_weight is None

    def tie_feedback(self) -> None:
        """Lets V be W."""
        self._feedback_weight = None

    @torch.no_grad()
    def redraw_feedback(self, generator: torch.Generator) -> None:
        """Draws the magnitudes of ``batchwise_random_sign`` anew, the same on every device; else does nothing."""
        if self._redraws and self._feedback_weight is not None:
            drawn = torch.rand(self._feedback_weight.shape, generator=generator, dtype=torch.float32)
            bound = 3**0.5 * self._standard_deviation()
            self._feedback_weight.copy_(placed(2 * bound * drawn - bound, self._feedback_weight))

    def scaled(self, weight: Tensor | None) -> Tensor | None:
        """Returns the weights as they act, a W or a V."""
        return weight if weight is None or self.scale == 1 else weight * self.scale

    def feedforward(self, pre: Tensor) -> Tensor:
        """Returns Q(W * r) + b (n × post_shape) of the presynaptic activity (n × pre_shape)."""
        drive, winners = self.pooled(through_both_parts(partial(self.transform, self.scaled(self.weight)), pre))
        self._note_winners("feedforward", pre, winners)
        return drive if self.bias is None else drive + self.bias_of_positions()

    def adjoint(self, post: Tensor, at: Tensor) -> Tensor:
        """Returns Wᵀ ⊛ Qᵀ z (n × pre_shape) of z (n × post_shape), through the winners at a presynaptic activity."""
        return self._back(self.scaled(self.weight), post, self.winners(at))

    def feedback(self, post: Tensor, at: Tensor) -> Tensor:
        """Returns Vᵀ ⊛ Qᵀ z (n × pre_shape) of z (n × post_shape), through the winners at a presynaptic activity."""
        weight = None if self.weight is None else self.scaled(self.feedback_weight)
        return self._back(weight, post, self.winners(at, self.winners_of))

    def correlate(self, post: Tensor, pre: Tensor, at: Tensor | None = None, by: Direction = "feedforward") -> Tensor:
        """Returns the Hebbian product ⟨Qᵀ z ⋆ r⟩, of W's shape; of complex activities its real part, not conjugated.

        Args:
            post: z (n × post_shape).
            pre: r (n × pre_shape).
            at: presynaptic activity whose winners count; None: r itself.
            by: whose drive decides the winners, W's or V's.
        """
        return self.correlate_unpooled(self.unpooled(post, self.winners(pre if at is None else at, by)), pre)

    def correlate_unpooled(self, post: Tensor, pre: Tensor) -> Tensor:
        """Returns a ⟨z ⋆ r⟩, of W's shape, of z before pooling (n × unpooled_shape) and r (n × pre_shape)."""
        if post.is_complex() and pre.is_complex():  # Re z r = Re z Re r − Im z Im r, of 2n samples
            post, pre = 2 * both_parts(post.conj()), both_parts(pre)
        post, pre = post.real, pre.real
        if self.product_dtype is None:
            product = self.correlation(post, pre)
        else:
            product = self.correlation(post.to(self.product_dtype), pre.to(self.product_dtype)).to(post.dtype)
        return product if self.scale == 1 else product * self.scale

    def contrast(
        self,
        plus: tuple[Tensor, Tensor],
        minus: tuple[Tensor, Tensor],
        at: tuple[Tensor, Tensor] | None = None,
        by: Direction = "feedforward",
    ) -> Tensor:
        """Returns ⟨Qᵀ z⁺ ⋆ r⁺⟩ − ⟨Qᵀ z⁻ ⋆ r⁻⟩ of two phases, each with winners of its own.

        Args:
            plus: z⁺ (n × post_shape) and r⁺ (n × pre_shape).
            minus: z⁻ and r⁻.
            at: the two presynaptic activities whose winners count; None: r⁺ and r⁻.
            by: whose drive decides the winners.
        """
        at_plus, at_minus = (plus[1], minus[1]) if at is None else at
        z_plus = self.unpooled(plus[0], self.winners(at_plus, by))
        z_minus = self.unpooled(minus[0], self.winners(at_minus, by))
        if self.product_dtype is None:
            return self.correlate_unpooled(z_plus, plus[1]) - self.correlate_unpooled(z_minus, minus[1])
        # rounded factors would swamp a small difference of the products, but not a product of small differences
        return self.correlate_unpooled(z_plus - z_minus, plus[1]) + self.correlate_unpooled(z_minus, plus[1] - minus[1])

    @staticmethod
    def bias_update(post: Tensor) -> Tensor:
        """Returns a bias's share (channels) of its layer's z (n × shape): mean over samples, sum over positions."""
        return post.mean(0) if post.ndim == 2 else post.flatten(2).sum(2).mean(0)

    def bias_of_positions(self) -> Tensor:
        """Returns b (1 × channels × 1 …), to be added to the drive of every sample and position."""
        assert self.bias is not None
        # with as many dimensions as the drive: torch.compile refuses lerp towards an image of fewer (torch 2.14)
        return self.bias.view(1, -1, *[1] * (len(self.post_shape) - 1))

    # ------------------------------------------------------------------------------------- projections from elsewhere

    def draw_projection(self, channels: int) -> Tensor:
        """Returns Xavier-uniform weights D through which as many channels reach the presynaptic layer as this one does.

        A wiring without such a form gets a matrix (channels × d_pre).
        """
        shape = self.projection_shape(channels)
        if shape is None:
            d = prod(self.pre_shape)
            return draw((channels, d), d, channels, "xavier")
        return draw(shape, *self.fans(shape), "xavier")

    def project(self, D: Tensor, signal: Tensor) -> Tensor:
        """Returns Dᵀ ⊛ s (n × pre_shape), where every position before pooling carries the signal s (n × channels)."""
        if self.projection_shape(signal.shape[1]) is None:
            return (signal @ D).view(-1, *self.pre_shape)
        positions = self.unpooled_shape[1:]
        spread = signal.view(*signal.shape, *[1] * len(positions)).expand(-1, -1, *positions)
        return self.transform_adjoint(D, spread)

    # ---------------------------------------------------------------------------------------------------------- pooling

    def pooled(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns Q z and the winners of max pooling, None where there are none."""
        return (z, None) if self.pool is None else self.pool.forward(z)

    def unpooled(self, post: Tensor, winners: Tensor | None) -> Tensor:
        """Returns Qᵀ z (n × unpooled_shape)."""
        return post if self.pool is None else self.pool.adjoint(post, winners, *self.unpooled_shape[1:])

    @property
    def has_winners(self) -> bool:
        """Whether the way back depends on the presynaptic activity."""
        return self.pool is not None and self.pool.has_winners

    def winners(self, at: Tensor, by: Direction = "feedforward") -> Tensor | None:
        """Returns the winners of max pooling at a presynaptic activity (n × pre_shape); None where there are none."""
        if not self.has_winners:
            return None
        noted = (self._found or {}).get(by)
        if noted is not None and noted[0] is at and noted[1] == times_changed(at):
            return noted[2]
        weight = self.scaled(self.weight if by == "feedforward" else self.feedback_weight)
        winners = self.pooled(through_both_parts(partial(self.transform, weight), at))[1]
        self._note_winners(by, at, winners)
        return winners

    def hold_weights(self, held: bool) -> None:
        """Says whether no weight changes for a while: then the winners at an activity are found once.

        Until it is called again, with False.
        """
        self._found = {} if held and self.has_winners else None

    # -------------------------------------------------------------------------------------------------------- internals

    @property
    def operations(self) -> int:
        """Floating-point operations of :meth:`transform` a sample."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            weight = None if self.weight is None else torch.empty(self.weight.shape, device="meta")
            self.transform(weight, torch.empty(1, *self.pre_shape, device="meta"))
        return int(counter.get_total_flops())

    def _note_winners(self, by: Direction, at: Tensor, winners: Tensor | None) -> None:
        if self._found is not None and not at.is_inference() and not torch.compiler.is_compiling():
            self._found[by] = at, times_changed(at), winners

    def _back(self, weight: Tensor | None, post: Tensor, winners: Tensor | None) -> Tensor:
        back = partial(self.transform_adjoint, cast(Tensor, weight))
        return through_both_parts(back, self.unpooled(post, winners))

    def _draw(self, shape: Sequence[int]) -> Tensor:
        return draw(shape, *self._fans, self._initialization) * self._gain

    def _standard_deviation(self) -> float:
        fan_in, fan_out = self._fans
        variances = {"xavier": 2 / (fan_in + fan_out), "kaiming": 2 / fan_in, "linear": 1 / (3 * fan_in)}
        variances |= {"standard_normal": 1.0}
        return self._gain * float(variances[self._initialization] ** 0.5)

    def _pooled_shape(self) -> tuple[int, ...]:
        if self.pool is None:
            return self.unpooled_shape
        require(
            len(self.unpooled_shape) == 3 and min(self.unpooled_shape[1:]) >= self.pool.size,
            f"there is nothing to pool by {self.pool.size} × {self.pool.size} in"
            f" {' × '.join(map(str, self.unpooled_shape))}: leave out pool, or take a smaller one",
        )
        channels, height, width = self.unpooled_shape
        return channels, height // self.pool.size, width // self.pool.size

    def _describe_pool(self) -> str:
        return "" if self.pool is None else f", {self.pool.kind} pool {self.pool.size}"
