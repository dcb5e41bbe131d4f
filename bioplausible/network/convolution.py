"""Images wired by a kernel that all positions share, or by one for each position."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from bioplausible.errors.checks import require
from bioplausible.network.connection import Connection


class _Kernel(Connection):
    """What a convolution and a locally connected layer have in common: which patch of the image a position sees."""

    weight: torch.nn.Parameter

    def __init__(
        self,
        pre_shape: Sequence[int],
        channels: int,
        weight_shape: Sequence[int],
        kernel: int,
        stride: int,
        padding: int,
        **options: Any,
    ) -> None:
        self.channels, self.kernel, self.stride, self.padding = channels, kernel, stride, padding
        super().__init__(pre_shape, weight_shape, **options)

    def met(self, of_weights: Tensor) -> Tensor:
        """Returns the entries of W, or V, that meet a pixel at some position (how many there are)."""
        image = self.weight.new_ones(1, *self.pre_shape)
        return of_weights[self.correlation(torch.ones_like(self.transform(self.weight, image)), image) > 0]

    def describe(self) -> str:
        """Returns what kind of wiring it is."""
        parts = [f"{self.kind} {self.channels}, {self.kernel} × {self.kernel}"]
        parts += [f"stride {self.stride}"] if self.stride > 1 else []
        parts += [f"padding {self.padding}"] if self.padding else []
        return ", ".join(parts) + self._describe_pool()

    kind: str


def positions(pre_shape: Sequence[int], kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Returns how many rows and columns of patches an image has.

    Args:
        pre_shape: (channels, height, width).
        kernel: side of a patch.
        stride: pixels from one patch to the next.
        padding: rows and columns of zeros on each side.

    Raises:
        UserError: the layer is no image, or smaller than a patch.
    """
    shape = " × ".join(map(str, pre_shape))
    require(len(pre_shape) == 3, f"its input {shape} is no image: put it before the first dense layer")
    sides = [(side + 2 * padding - kernel) // stride + 1 for side in pre_shape[1:]]
    require(
        min(sides) >= 1,
        f"its kernel of {kernel} × {kernel} is larger than its input {shape} with padding {padding}: take a smaller"
        " kernel, a larger padding, or less pooling and stride before it",
    )
    return sides[0], sides[1]


class Convolution(_Kernel):
    """Convolution (a cross-correlation, as everywhere in the field), zero outside the image.

    (W * r)[c, i, j] = Σ W[c, c′, u, v] r[c′, stride · i + u − padding, stride · j + v − padding], with
    W (channels × channels_pre × kernel × kernel).

    Args:
        pre_shape: (channels_pre, height, width).
        channels: postsynaptic channels.
        kernel: side of the kernel.
        stride: pixels from one position to the next.
        padding: rows and columns of zeros on each side.
        options: the options of :class:`bioplausible.network.Connection`.

    Raises:
        UserError: the layer is no image, or smaller than the kernel.
    """

    kind = "conv"

    def __init__(
        self, pre_shape: Sequence[int], channels: int, kernel: int, stride: int = 1, padding: int = 0, **options: Any
    ) -> None:
        positions(pre_shape, kernel, stride, padding)
        shape = (channels, pre_shape[0], kernel, kernel)
        super().__init__(pre_shape, channels, shape, kernel, stride, padding, **options)
        # convolutions by such kernels give images whose channels lie last, which all that follows is quickest with
        for weight in (self.weight, self._feedback_weight):
            if weight is not None and weight.ndim == 4:
                # copied: contiguous() leaves a kernel of one channel, which lies both ways, without strides that say so
                weight.data = torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight.data)
        # rows and columns at the end that no patch reaches
        self._unreached = [(side + 2 * padding - kernel) % stride for side in self.pre_shape[1:]]

    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns W * r (n × channels × rows × columns)."""
        assert weight is not None
        return F.conv2d(pre, weight, stride=self.stride, padding=self.padding)

    def transform_adjoint(self, weight: Tensor, post: Tensor) -> Tensor:
        """Returns Wᵀ ⊛ z (n × pre_shape)."""
        return F.conv_transpose2d(
            post, weight, stride=self.stride, padding=self.padding, output_padding=self._unreached
        )

    def correlation(self, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z ⋆ r⟩ (channels × channels_pre × kernel × kernel)."""
        shape = self.projection_shape(post.shape[1])
        of_weight: Any = conv2d_weight  # untyped
        return cast(Tensor, of_weight(pre, shape, post, stride=self.stride, padding=self.padding).div_(len(pre)))

    def projection_shape(self, channels: int) -> tuple[int, ...]:
        """Returns (channels × channels_pre × kernel × kernel)."""
        return channels, *self.weight.shape[1:]


class Local(_Kernel):
    """Locally connected layer: the patches of a convolution, each position with a kernel of its own.

    W (positions × channels × channels_pre · kernel²), the patch channel by channel, row by row; positions row by row.

    Args:
        pre_shape: (channels_pre, height, width).
        channels: postsynaptic channels.
        kernel: side of a patch.
        stride: pixels from one position to the next.
        padding: rows and columns of zeros on each side.
        options: the options of :class:`bioplausible.network.Connection`.

    Raises:
        UserError: the layer is no image, or smaller than a patch.
    """

    kind = "local"

    def __init__(
        self, pre_shape: Sequence[int], channels: int, kernel: int, stride: int = 1, padding: int = 0, **options: Any
    ) -> None:
        self._rows, self._columns = positions(pre_shape, kernel, stride, padding)
        shape = (self._rows * self._columns, channels, pre_shape[0] * kernel**2)
        super().__init__(pre_shape, channels, shape, kernel, stride, padding, **options)

    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns W * r (n × channels × rows × columns)."""
        assert weight is not None
        drive = torch.bmm(self._patches(pre), weight.transpose(1, 2))
        return drive.permute(1, 2, 0).reshape(len(pre), -1, self._rows, self._columns)

    def transform_adjoint(self, weight: Tensor, post: Tensor) -> Tensor:
        """Returns Wᵀ ⊛ z (n × pre_shape)."""
        patches = torch.bmm(post.flatten(2).permute(2, 0, 1), weight).permute(1, 2, 0)
        return F.fold(patches, self.pre_shape[1:], self.kernel, padding=self.padding, stride=self.stride)

    def correlation(self, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z ⋆ r⟩ (positions × channels × channels_pre · kernel²)."""
        return torch.bmm(post.flatten(2).permute(2, 1, 0), self._patches(pre)).div_(len(pre))

    def fans(self, weight_shape: Sequence[int]) -> tuple[int, int]:
        """Returns the fans of the convolution with the same patches."""
        _, channels, fan_in = weight_shape
        return fan_in, channels * self.kernel**2

    def projection_shape(self, channels: int) -> tuple[int, ...]:
        """Returns (positions × channels × channels_pre · kernel²)."""
        return len(self.weight), channels, self.weight.shape[2]

    def _patches(self, pre: Tensor) -> Tensor:
        """Returns the patches (positions × n × channels_pre · kernel²)."""
        return F.unfold(pre, self.kernel, padding=self.padding, stride=self.stride).permute(2, 0, 1)
