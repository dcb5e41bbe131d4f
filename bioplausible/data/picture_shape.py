"""The one shape to which the pictures of a training set are brought."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from bioplausible.data.decoding import decoded, resized
from bioplausible.errors.checks import require


class Pictures:
    """Turns pictures into images of one shape.

    Args:
        first: the picture whose shape counts where none is given.
        name: its name, for sentences; of a file it is the file's.
        size: side of the square, or [height, width], that pictures are brought to, whatever their proportions; None:
            all have that of the first.
        channels: 1 (brightness) or 3 (colours); None: those of the first, and no other picture has more.

    Raises:
        UserError: there is no such size or number of channels, or the first picture can't be read.
    """

    def __init__(
        self, first: Image.Image | str | Path, size: int | list[int] | None, channels: int | None, name: str = ""
    ) -> None:
        require(channels in (None, 1, 3), f"channels is {channels}: give 1 for brightness, or 3 for colours.")
        sides = [size, size] if isinstance(size, int) else size
        require(
            sides is None or (len(sides) == 2 and all(1 <= side <= 4096 for side in sides)),
            f"size is {size}: give one side, or [height, width], in pixels, each between 1 and 4096.",
        )
        self._given_channels = channels
        self.resizes = sides is not None
        self.channels, *found = decoded(first, channels, name).shape
        self.height, self.width = sides or found

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    def read(self, picture: Image.Image | str | Path, name: str = "") -> Tensor:
        """Returns a picture (channels × height × width) in [0, 1].

        Args:
            picture: a file, or what a data set holds.
            name: for sentences; of a file it is the file's.

        Raises:
            UserError: it can't be read, has another shape and none was given, transparent pixels, or numbers of unknown
                meaning.
        """
        image = decoded(picture, self._given_channels, name)
        name = name or f"The picture {picture}"
        channels, height, width = image.shape
        require(
            self.resizes or (height, width) == (self.height, self.width),
            f"{name} has {height} × {width} pixels and the first picture {self.height} × {self.width}:"
            f" give a size that all are brought to, as size: [{self.height}, {self.width}].",
        )
        require(
            channels <= self.channels,
            f"{name} has colours and the first picture has none: give channels: 3, or channels: 1 for brightness.",
        )
        return resized(image, (self.height, self.width)).expand(self.channels, -1, -1)
