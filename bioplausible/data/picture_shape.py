"""Picture files as numbers."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of pictures without colour."""
SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")
BLACK_TO_WHITE = 65535


class Pictures:
    """Turns pictures into images of one shape.

    Args:
        first: the picture whose shape counts where none is given.
        size: side of the square, or [height, width], that pictures are brought to; None: all have that of the first.
        channels: 1 (brightness) or 3 (colours); None: those of the first, and no other picture has more.

    Raises:
        UserError: there is no such size or number of channels.
    """

    def __init__(self, first: Image.Image, size: int | list[int] | None, channels: int | None) -> None:
        require(channels in (None, 1, 3), f"channels is {channels}: give 1 for brightness, or 3 for colours.")
        sides = [size, size] if isinstance(size, int) else size
        require(
            sides is None or (len(sides) == 2 and all(1 <= side <= 4096 for side in sides)),
            f"size is {size}: give one side, or [height, width], in pixels, each between 1 and 4096.",
        )
        width, height = ImageOps.exif_transpose(first).size
        self.resizes, self.converts = sides is not None, channels is not None
        self.height, self.width = sides or (height, width)
        self.channels = channels or (1 if first.mode in GREY else 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    def read(self, picture: Image.Image, name: str) -> Tensor:
        """Returns a picture (channels × height × width) in [0, 1].

        Args:
            picture: turned as its EXIF data say.
            name: for sentences.

        Raises:
            UserError: it has another shape and none was given, transparent pixels, or numbers of unknown meaning.
        """
        picture = ImageOps.exif_transpose(picture)
        require(
            self.resizes or picture.size == (self.width, self.height),
            f"{name} has {picture.height} × {picture.width} pixels and the first picture {self.height} × {self.width}:"
            f" give a size that all are brought to, as size: [{self.height}, {self.width}].",
        )
        require(
            self.converts or self.channels == 3 or picture.mode in GREY,
            f"{name} has colours and the first picture has none: give channels: 3, or channels: 1 for brightness.",
        )
        require(picture.mode != "F", f"{name} has floating-point numbers: save it with 8 or 16 bits a pixel.")
        if picture.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
            opaque = picture.convert("RGBA").getchannel("A").getextrema()[0] == 255
            require(opaque, f"{name} has transparent pixels: save it on a background of your choice.")
        if picture.mode in SIXTEEN_BITS:
            values = torch.from_numpy(np.asarray(picture).astype(np.float32)) / BLACK_TO_WHITE
            require(
                0 <= float(values.min()) <= float(values.max()) <= 1,
                f"{name} has numbers beyond 16 bits a pixel: save it with 8 or 16 bits a pixel.",
            )
            picture = Image.fromarray(values.numpy())
            white = 1
        else:
            picture = picture.convert("L" if self.channels == 1 else "RGB")
            white = 255
        if picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.array(picture, dtype=np.float32)).div_(white).clamp_(0, 1)
        image = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
        return image.expand(self.channels, -1, -1)


def opened(file: str) -> Image.Image:
    """Returns a picture file's content.

    Raises:
        UserError: it can't be read, or is no picture.
    """
    try:
        with Image.open(file) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error).split(":")[0].split("'")[
            0
        ].strip()
        raise UserError(f"The picture {file} can't be read ({said}): mend or remove it.") from error
