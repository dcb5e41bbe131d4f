"""One picture, from a file or from a data set, as numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
"""Pillow's formats that belong to the names of files that torchvision's ``ImageFolder`` takes."""
GREY = ("1", "L", "LA", "La")
"""Pillow's modes of pictures without colour and with 256 levels at most."""
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Its modes of grey pictures with more levels, which Pillow itself would cut off at 255."""
WHITE = 65535
"""The white of these."""


def decoded(picture: Image.Image | str | Path, channels: int | None, name: str = "") -> Tensor:
    """Returns a picture (channels × height × width), float32 in [0, 1], white being 1.

    Colours become grey by their luminance, grey is each of three colours. Grey of sixteen bits keeps its levels. It is
    turned upright as its camera noted.

    Args:
        picture: a file, or what a data set holds.
        channels: 1 or 3; None: one for a picture without colours, else three.
        name: the sentences' subject; left out for a file.

    Raises:
        UserError: it can't be read, is transparent in parts, or has numbers of unknown meaning.
    """
    name = name or f"The picture {picture}"
    try:
        if isinstance(picture, Image.Image):
            return _pixels(picture, channels, name)
        with Image.open(picture, formats=FORMATS) as opened:
            require(
                opened.format not in ("TIFF", "WEBP") or getattr(opened, "n_frames", 1) == 1,
                f"{name} is a file of several: save each as a picture of its own.",
            )
            return _pixels(opened, channels, name)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"There is no picture {picture}: name another one.") from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        large = isinstance(error, Image.DecompressionBombError)
        unread = "it has too many pixels" if large else f"it is damaged, or none of {', '.join(FORMATS)}"
        reason = getattr(error, "strerror", None) or unread
        raise UserError(f"{name} can't be read ({reason}): save it anew, or leave it out.") from error


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """Returns an image (channels × height × width) in another size (height, width), smoothed, whatever its ratio."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    return F.interpolate(image[None], list(size), **options)[0].clamp(0, 1)  # type: ignore[arg-type]


def _pixels(picture: Image.Image, channels: int | None, name: str) -> Tensor:
    picture = ImageOps.exif_transpose(picture)
    require(picture.mode != "F", f"{name} has floating-point numbers: save it with 8 or 16 bits a pixel.")
    require(
        not _is_transparent(picture),
        f"{name} is transparent in parts: save it with a background, for it has none.",
    )
    if channels is None:
        channels = 1 if picture.mode in GREY + DEEP else 3
    if picture.mode in DEEP:
        pixels = torch.from_numpy(np.array(picture).astype(np.float32)) / WHITE
        require(
            0 <= float(pixels.min()) <= float(pixels.max()) <= 1,
            f"{name} has numbers beyond 16 bits a pixel: save it with 8 or 16 bits a pixel.",
        )
    else:
        pixels = torch.from_numpy(np.array(picture.convert("L" if channels == 1 else "RGB"), np.float32)) / 255
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return pixels.expand(channels, -1, -1)


def _is_transparent(picture: Image.Image) -> bool:
    """Returns whether any of its pixels lets a background through."""
    if not picture.has_transparency_data:
        return False
    if picture.mode in DEEP:  # its key is one of its levels; Pillow can't convert them
        return bool((np.array(picture) == picture.info["transparency"]).any())
    return bool(np.array(picture.convert("RGBA"))[..., 3].min() < 255)
