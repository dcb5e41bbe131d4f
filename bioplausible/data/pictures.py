"""Pictures of one's own as a data set's images: of its channels and size, in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplausible.data.decoding import decoded, resized
from bioplausible.errors.checks import require

FRAME = 0.25
"""How far from the middle grey, on its other side, the border of a picture lies that may be inverted."""


def read_pictures(
    files: str | Path | Sequence[str | Path], shape: Sequence[int], invert: bool = False, stretch: bool = False
) -> Tensor:
    """Returns pictures as images (n × channels × height × width), float32 in [0, 1], white being 1.

    They are decoded as those of a training set are (:func:`bioplausible.data.decoding.decoded`). A picture is scaled,
    smoothed, until it fits as a whole; where its sides are not in the images' ratio, its outermost pixels fill the
    rest, so nothing is cut off or distorted.

    Args:
        files: PNG, JPEG, PPM, BMP, TIFF or WEBP, of any size, one or several.
        shape: (channels, height, width), of one or three channels.
        invert: whether black becomes white.
        stretch: whether to bring each to the size whatever its proportions, as where the network learned from such.

    Raises:
        UserError: a file can't be read, is none of these, or is transparent in parts.
    """
    named = [files] if isinstance(files, (str, Path)) else files
    require(len(named) > 0, "There is no picture to read: name at least one.")
    pictures = (decoded(Path(file).expanduser(), shape[0]) for file in named)
    images = torch.stack([(resized if stretch else _fitted)(picture, shape[1:]) for picture in pictures])
    return 1 - images if invert else images


def look_inverted(pictures: Tensor, images: Tensor) -> Tensor:
    """Returns of which pictures (n) the border is bright where that of the data's images is dark, or dark where bright.

    The borders' mean brightness tells: of strokes on paper it is the paper's.

    Args:
        pictures: (n × channels × height × width), in [0, 1].
        images: (N × channels × height × width), in [0, 1].
    """
    usual = _border(images).mean() - 0.5
    against = (_border(pictures) - 0.5) * -usual.sign()
    return (against > FRAME) & (usual.abs() > FRAME)


def _border(images: Tensor) -> Tensor:
    """Returns the mean of the outermost pixels of each image (n)."""
    inner = images[..., 1:-1, 1:-1].sum((1, 2, 3))
    count = images[0].numel() - images[0, :, 1:-1, 1:-1].numel()
    return (images.sum((1, 2, 3)) - inner) / count


def _fitted(image: Tensor, size: Sequence[int]) -> Tensor:
    """Returns an image (channels × height × width) as a whole within another size, filled up with its border."""
    height, width = image.shape[1:]
    scale = min(size[0] / height, size[1] / width)
    inner = [max(1, round(height * scale)), max(1, round(width * scale))]
    rows, columns = size[0] - inner[0], size[1] - inner[1]
    margins = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return F.pad(resized(image, inner), margins, mode="replicate")
