"""Random changes of images, a batch at a time on the device where they lie."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Returns each image shifted by its own random offset of up to ``padding`` pixels in both directions.

    Args:
        images: (n × channels × height × width).
        padding: pixels by which the border is extended, by its own values.
        generator: source of the offsets, on the images' device.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, [padding] * 4, mode="replicate")
    offsets = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    sample = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_horizontal_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each image mirrored left to right with probability one half.

    Args:
        images: (n × channels × height × width).
        generator: source of the choices, on the images' device.
    """
    flip = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(flip, images.flip(-1), images)
