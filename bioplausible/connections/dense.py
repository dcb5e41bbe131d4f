"""Two layers wired all to all."""

import torch
from torch import Tensor, nn

from bioplausible.functional import mean_outer_product


class Dense(nn.Module):
    """All-to-all connection from a presynaptic to a postsynaptic layer, with an optional way back.

    feedforward: W r_pre,  W (d_post × d_pre);  feedback: V r_post,  V (d_pre × d_post).

    A rule reaches its weights only through the methods below, so that another wiring (a convolution, say) can take this
    one's place without touching the rule.

    Args:
        inputs: d_pre.
        outputs: d_post.
        feedback: whether the connection has feedback weights V of its own.
    """

    def __init__(self, inputs: int, outputs: int, *, feedback: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))
        self.feedback_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs))) if feedback else None

    def feedforward(self, pre: Tensor) -> Tensor:
        """Returns W r_pre (n × d_post) of the presynaptic activity (n × d_pre)."""
        return pre @ self.weight.t()

    def feedback(self, post: Tensor) -> Tensor:
        """Returns V r_post (n × d_pre) of the postsynaptic activity (n × d_post)."""
        return post @ self.own_feedback_weight.t()

    def add_feedforward_(self, voltage: Tensor, pre: Tensor, scale: float) -> None:
        """Adds scale · W r_pre to the voltage (n × d_post), in place."""
        voltage.addmm_(pre, self.weight.t(), alpha=scale)

    def add_feedback_(self, voltage: Tensor, post: Tensor, scale: float) -> None:
        """Adds scale · V r_post to the voltage (n × d_pre), in place."""
        voltage.addmm_(post, self.own_feedback_weight.t(), alpha=scale)

    def correlate(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns the Hebbian product ⟨a b⟩ (d_a × d_b) of the activities on the connection's two sides."""
        return mean_outer_product(a, b)

    @property
    def own_feedback_weight(self) -> nn.Parameter:
        """V, where the connection has one."""
        assert self.feedback_weight is not None, "this connection was built without feedback weights"
        return self.feedback_weight
