"""What a connection does to its images before they reach the postsynaptic layer: average or max pooling, or nothing."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import softmax, through_both_parts

KINDS = ("max", "average", "soft")


@dataclass(frozen=True)
class Pooling:
    """Pooling Q by windows of size × size that don't overlap; an odd last row or column is dropped.

    Max pooling is linear once its winners are given: Q z picks the winner of each window, the first one in row-major
    order where several are equal, and Qᵀ z gives each winner its window's value and all others 0. Soft pooling is the
    mean of a window weighted by the softmax of its values, Q z = Σ z e^z / Σ e^z; its "winners" are the derivatives
    ∂Q/∂z = p (1 + z − Q z) of the window's mean, with p the softmax: they add up to 1, and Qᵀ z gives each its share.

    Attributes:
        kind: ``average``, ``max`` or ``soft``.
        size: pixels of a window's side.

    Raises:
        UserError: the kind is none of them, or the size is below 1.
    """

    kind: Literal["average", "max", "soft"]
    size: int = 2

    def __post_init__(self) -> None:
        require(self.kind in KINDS, f"pool is {self.kind!r}: choose {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
        require(
            isinstance(self.size, int) and self.size >= 1,
            f"pool has the size {self.size!r}: give a whole number of pixels.",
        )

    @property
    def has_winners(self) -> bool:
        """Whether what is passed on depends on the presynaptic activity."""
        return self.kind != "average"

    @property
    def is_holomorphic(self) -> bool:
        """Whether it has a derivative at complex activities."""
        return self.kind != "max"

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns Q z (n × C × ⌊H/size⌋ × ⌊W/size⌋) of images (n × C × H × W), and the winners where there are any."""
        if self.kind == "average":
            return through_both_parts(lambda z: F.avg_pool2d(z, self.size), z), None
        if self.kind == "soft":
            return self._soft(z)
        return F.max_pool2d(z, self.size, return_indices=True)

    def adjoint(self, s: Tensor, winners: Tensor | None, height: int, width: int) -> Tensor:
        """Returns Qᵀ s (n × C × height × width) of pooled images.

        Args:
            s: pooled images (n × C × ⌊height/size⌋ × ⌊width/size⌋).
            winners: of max and soft pooling, as :meth:`forward` gave them.
            height: rows before pooling.
            width: columns before pooling.
        """
        if winners is not None and self.kind == "soft":
            return self.spread(s, height, width) * winners
        if winners is not None:
            return F.max_unpool2d(s, winners, [self.size, self.size], output_size=[height, width])
        return self.spread(s / self.size**2, height, width)

    def spread(self, s: Tensor, height: int, width: int) -> Tensor:
        """Returns images (n × C × height × width) that have each window's value at all its positions, 0 in no window.

        Args:
            s: one value a window (n × C × ⌊height/size⌋ × ⌊width/size⌋).
            height: rows before pooling.
            width: columns before pooling.
        """
        size = self.size
        spread = s[:, :, :, None, :, None].expand(-1, -1, -1, size, -1, size).flatten(4, 5).flatten(2, 3)
        rest = [0, width - spread.shape[3], 0, height - spread.shape[2]]
        return F.pad(spread, rest) if any(rest) else spread

    def spread_rest(self, s: Tensor, height: int, width: int) -> Tensor:
        """Returns what :meth:`spread` does, but 1 at the positions that are in no window."""
        return self.spread(s - 1, height, width) + 1

    def sums(self, z: Tensor) -> Tensor:
        """Returns each window's sum (n × C × ⌊H/size⌋ × ⌊W/size⌋) of images (n × C × H × W)."""
        return F.avg_pool2d(z, self.size, divisor_override=1)

    def _soft(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the windows' weighted means, and their derivatives by z, 0 in a row or column that is dropped."""
        n, channels, size = *z.shape[:2], self.size
        height, width = z.shape[2] // size, z.shape[3] // size
        windows = z[:, :, : height * size, : width * size].reshape(n, channels, height, size, width, size)
        windows = windows.transpose(3, 4).flatten(4)
        p = softmax(windows.flatten(0, 3)).view_as(windows)
        means = (p * windows).sum(-1)
        derivatives = (p * (1 + windows - means[..., None])).view(n, channels, height, width, size, size)
        images = derivatives.transpose(3, 4).reshape(n, channels, height * size, width * size)
        return means, F.pad(images, [0, z.shape[3] - width * size, 0, z.shape[2] - height * size])
