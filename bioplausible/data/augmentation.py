"""Changes of images, a batch at a time on the device where they lie."""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Returns each image shifted by its own offset of up to ``padding`` pixels in both directions.

    Args:
        images: (n × channels × height × width).
        padding: pixels by which the border is extended, by its own values.
        offsets: (n × 2), each image's first row and column in the extended one, from 0 to 2 · ``padding``.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, [padding] * 4, mode="replicate")
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    sample = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def mirror(images: Tensor, chosen: Tensor) -> Tensor:
    """Returns the images, the chosen ones mirrored left to right.

    Args:
        images: (n × channels × height × width).
        chosen: (n), booleans.
    """
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)
