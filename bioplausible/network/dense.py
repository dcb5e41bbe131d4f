"""Two layers wired all to all."""

from typing import Literal

import torch
from torch import Tensor, nn

from bioplausible.functional import mean_outer_product

Initialization = Literal["xavier", "kaiming", "linear"]
Feedback = Literal["tied", "learned", "fixed"]


class Dense(nn.Module):
    """All-to-all connection from a presynaptic to a postsynaptic layer.

    feedforward: W r_pre + b,  W (d_post × d_pre);  feedback: V r_post,  V (d_pre × d_post).

    A rule reaches its weights through the methods below, so that another wiring (a convolution, say) can take this
    one's place without touching the rule.

    Args:
        inputs: d_pre.
        outputs: d_post.
        feedback: where V comes from: ``tied`` to Wᵀ, ``learned`` weights of its own, or ``fixed`` random ones.
        bias: whether there is a bias b (d_post).
        initialization: of W and V. ``xavier``: uniform, b = 0. ``kaiming``: He-uniform, b uniform in ±1/√d_pre.
            ``linear``: W and b uniform in ±1/√d_pre, torch.nn.Linear's default.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        feedback: Feedback = "tied",
        bias: bool = True,
        initialization: Initialization = "xavier",
    ) -> None:
        super().__init__()
        self.product_dtype: torch.dtype | None = None
        """Lower precision of the factors of :meth:`correlate`; None: that of the activities."""
        self.weight = nn.Parameter(_draw(outputs, inputs, initialization))
        self.bias: nn.Parameter | None = None
        if bias:
            bound = 0.0 if initialization == "xavier" else inputs**-0.5
            self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self._feedback_weight: Tensor | None
        if feedback == "learned":
            self._feedback_weight = nn.Parameter(_draw(inputs, outputs, initialization))
        else:
            fixed = _draw(outputs, inputs, initialization).t() if feedback == "fixed" else None
            self.register_buffer("_feedback_weight", fixed)

    @property
    def feedback_weight(self) -> Tensor:
        """V (d_pre × d_post)."""
        return self.weight.t() if self._feedback_weight is None else self._feedback_weight

    def feedforward(self, pre: Tensor) -> Tensor:
        """Returns W r_pre + b (n × d_post) of the presynaptic activity (n × d_pre)."""
        return torch.nn.functional.linear(pre, self.weight, self.bias)

    def feedback(self, post: Tensor) -> Tensor:
        """Returns V r_post (n × d_pre) of the postsynaptic activity (n × d_post)."""
        return post @ self.feedback_weight.t()

    def wires(self) -> "Wires":
        """Returns the weights at hand, for the iterations of a relaxation, during which they do not change."""
        return Wires(self.weight.t(), self.feedback_weight.t())

    def correlate(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns the Hebbian product ⟨a b⟩ (d_a × d_b) of the activities on the connection's two sides."""
        if self.product_dtype is not None:
            return mean_outer_product(a.to(self.product_dtype), b.to(self.product_dtype)).to(a.dtype)
        return mean_outer_product(a, b)

    def contrast(self, a_plus: Tensor, b_plus: Tensor, a_minus: Tensor, b_minus: Tensor) -> Tensor:
        """Returns ⟨a⁺ b⁺⟩ − ⟨a⁻ b⁻⟩ (d_a × d_b) of the activities in two phases."""
        if self.product_dtype is None:
            return self.correlate(a_plus, b_plus) - self.correlate(a_minus, b_minus)
        # rounded factors would swamp a small difference of the products, but not a product of small differences
        return self.correlate(a_plus - a_minus, b_plus) + self.correlate(a_minus, b_plus - b_minus)


class Wires:
    """A connection's weights as plain attributes: a module looks each up for about as long as a small product takes.

    Args:
        feedforward: Wᵀ (d_pre × d_post).
        feedback: Vᵀ (d_post × d_pre).
    """

    __slots__ = ("_feedback", "_feedforward")

    def __init__(self, feedforward: Tensor, feedback: Tensor) -> None:
        self._feedforward = feedforward
        self._feedback = feedback

    def add_feedforward_(self, voltage: Tensor, pre: Tensor, scale: float = 1.0) -> None:
        """Adds scale · W r_pre to the voltage (n × d_post), in place; the bias is left out."""
        voltage.addmm_(pre, self._feedforward, alpha=scale)

    def set_feedback_(self, voltage: Tensor, post: Tensor) -> None:
        """Sets the voltage (n × d_pre) to V r_post, in place."""
        torch.mm(post, self._feedback, out=voltage)

    def add_feedback_(self, voltage: Tensor, post: Tensor, scale: float = 1.0) -> None:
        """Adds scale · V r_post to the voltage (n × d_pre), in place."""
        voltage.addmm_(post, self._feedback, alpha=scale)


def _draw(outputs: int, inputs: int, initialization: Initialization) -> Tensor:
    weight = torch.empty(outputs, inputs)
    if initialization == "xavier":
        return nn.init.xavier_uniform_(weight)
    if initialization == "kaiming":
        return nn.init.kaiming_uniform_(weight)
    return weight.uniform_(-(inputs**-0.5), inputs**-0.5)
