"""Picture files as a data set's images: of its channels and size, in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require

FORMATS = ("PNG", "JPEG")
DEEP = dict.fromkeys(("I", "I;16", "I;16L", "I;16B", "I;16N"), 65535)
"""Kinds of grey pictures of more than 256 levels, with the number of white: PIL would cut them off at 255."""
FRAME = 0.25
"""How far from the middle grey, on its other side, the border of a picture lies that may be inverted."""


def read_pictures(files: str | Path | Sequence[str | Path], shape: Sequence[int], invert: bool = False) -> Tensor:
    """Returns pictures as images (n × channels × height × width), float32 in [0, 1], white being 1.

    Colours become grey by their luminance, grey is each of three colours. A picture is scaled, smoothed, until it fits
    as a whole; where its sides are not in the images' ratio, its outermost pixels fill the rest, so nothing is cut off
    or distorted. It is turned upright as its camera noted.

    Args:
        files: PNG or JPEG, of any size, one or several.
        shape: (channels, height, width), of one or three channels.
        invert: whether black becomes white.

    Raises:
        UserError: a file can't be read, is neither of these, or is transparent in parts.
    """
    named = [files] if isinstance(files, (str, Path)) else files
    require(len(named) > 0, "There is no picture to read: name at least one.")
    images = torch.cat([_scaled(_pixels(Path(file).expanduser(), shape[0]), shape[1:]) for file in named])
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


def _pixels(file: Path, channels: int) -> Tensor:
    """Returns a picture (channels × height × width) in [0, 1]."""
    try:
        with Image.open(file, formats=FORMATS) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data and np.array(picture.convert("RGBA"))[..., 3].min() < 255:
                raise UserError(
                    f"The picture {file} is transparent in parts: save it with a background, for it has none."
                )
            white = DEEP.get(picture.mode, 255)
            picture = picture if white > 255 else picture.convert("L" if channels == 1 else "RGB")
            pixels = torch.from_numpy(np.array(picture).astype(np.float32)) / white
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"There is no picture {file}: name PNG or JPEG files.") from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        large = isinstance(error, Image.DecompressionBombError)
        unread = "it has too many pixels" if large else "it is damaged, or neither PNG nor JPEG"
        reason = getattr(error, "strerror", None) or unread
        raise UserError(f"The picture {file} can't be read ({reason}): save it anew, or name another file.") from error
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return pixels.expand(channels, -1, -1)


def _scaled(picture: Tensor, size: Sequence[int]) -> Tensor:
    """Returns a picture (channels × height × width) in another size (1 × channels × height × width)."""
    height, width = picture.shape[1:]
    scale = min(size[0] / height, size[1] / width)
    fitted = [max(1, round(height * scale)), max(1, round(width * scale))]
    image = picture[None]
    if fitted != [height, width]:
        image = F.interpolate(image, fitted, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    rows, columns = size[0] - fitted[0], size[1] - fitted[1]
    return F.pad(image, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2], mode="replicate")
