"""A depthwise convolution: a wiring of one's own, in a file of one's own."""

from torch.nn import functional as F

from bioplausible.network import Connection


class DepthwiseConvolution(Connection):
    """Each channel has a kernel of its own, and sees that channel alone."""

    def __init__(self, pre_shape, kernel=3, stride=1, **options):
        self.stride, self.padding = stride, kernel // 2
        super().__init__(pre_shape, (pre_shape[0], 1, kernel, kernel), **options)

    def fans(self, weight_shape):
        return weight_shape[2] ** 2, weight_shape[2] ** 2

    def transform(self, weight, pre):
        return F.conv2d(pre, weight, stride=self.stride, padding=self.padding, groups=len(weight))
