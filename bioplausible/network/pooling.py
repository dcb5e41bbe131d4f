"""What a connection does to its images before they reach the postsynaptic layer: average or max pooling, or nothing."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from bioplausible.errors.checks import require


@dataclass(frozen=True)
class Pooling:
    """Pooling Q by windows of size × size that don't overlap; an odd last row or column is dropped.

    Max pooling is linear once its winners are given: Q z picks the winner of each window, the first one in row-major
    order where several are equal, and Qᵀ z gives each winner its window's value and all others 0.

    Attributes:
        kind: ``average`` or ``max``.
        size: pixels of a window's side.

    Raises:
        UserError: the kind is neither, or the size is below 1.
    """

    kind: Literal["average", "max"]
    size: int = 2

    def __post_init__(self) -> None:
        require(self.kind in ("average", "max"), f"pool is {self.kind!r}: choose max or average.")
        require(
            isinstance(self.size, int) and self.size >= 1,
            f"pool has the size {self.size!r}: give a whole number of pixels.",
        )

    @property
    def has_winners(self) -> bool:
        """Whether what is passed on depends on the presynaptic activity."""
        return self.kind == "max"

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns Q z (n × C × ⌊H/size⌋ × ⌊W/size⌋) of images (n × C × H × W), and the winners where there are any."""
        if self.kind == "average":
            return F.avg_pool2d(z, self.size), None
        return F.max_pool2d(z, self.size, return_indices=True)

    def adjoint(self, s: Tensor, winners: Tensor | None, height: int, width: int) -> Tensor:
        """Returns Qᵀ s (n × C × height × width) of pooled images.

        Args:
            s: pooled images (n × C × ⌊height/size⌋ × ⌊width/size⌋).
            winners: of max pooling, as :meth:`forward` gave them.
            height: rows before pooling.
            width: columns before pooling.
        """
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
