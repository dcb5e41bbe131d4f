"""A user's own arrays of images or vectors, from one file."""

import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bioplausible.data.own import PARTS, OwnDataModule, expanded, in_order, require_splittable, split_by_class
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.training.batch import IMAGE_NAMES, LABEL_NAMES, Source, as_classes, signed

ROLES = {"x": IMAGE_NAMES | {"data", "vectors"}, "y": LABEL_NAMES}
"""Names of arrays by what they hold: samples or classes."""
NAMES = "class_names"
WHITE = 255
"""Of pixels of eight bits."""
BARELY = 2
"""Pixels below it are meant to lie in [0, 1], as where a picture was resampled, and are not of another scale."""


class ArraysDataModule(OwnDataModule):
    """Images or vectors and their classes from one ``.npz`` or ``.pt`` file.

    What its arrays are called says what they hold, in capitals or not:

    ========================  ==========================================================================
    ``x``, ``y``              samples and classes; also ``images``, ``data``, … and ``labels``, ``target``, …
    ``x_train``, ``y_train``  those for training, which is what ``x`` and ``y`` are; also ``train_images``, …
    ``x_test``, ``y_test``    those for the test; without them, a fixed fifth of each class
    ``x_val``, ``y_val``      those for validation, if any, in the place of ``validation_split``
    ``class_names``           the classes' names in their order, if they have any
    ========================  ==========================================================================

    Samples are vectors (n × d), images (n × height × width), or images with channels, the first or the last of an
    image's dimensions. Classes are whole numbers from 0 on, without a gap, one-hot rows, or texts, which are their own
    names. A ``.pt`` file holds a dictionary of these, or a pair (samples, classes). Nothing in a file is run.

    Images of floating-point numbers must lie in [0, 1], vectors may hold any. Integers don't say which value is white:
    name it by ``scale``. The pixels of images of eight bits that go beyond the middle, 127, are divided by 255.

    Args:
        file: the ``.npz`` or ``.pt`` file; ``~`` is the home folder.
        scale: number that all values are divided by; 1 leaves integers as they are.
        channels: whether an image's channels are its ``first`` or ``last`` dimension; None: where 1 or 3 of something
            are, if that is one of the two.
        standardise: as that of :class:`bioplausible.data.own.OwnDataModule`.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: the file can't be read, or does not hold this.
    """

    def __init__(
        self,
        file: str,
        scale: float | None = None,
        channels: Literal["first", "last"] | None = None,
        standardise: bool = False,
        **options: Any,
    ) -> None:
        self.file = expanded("file", file)
        require(scale is None or scale > 0, f"scale is {scale}: it must be positive.")
        self.scale, self.channels = scale, channels
        arrays = self._read()
        self._require_pairs(arrays)
        self.own_validation, self._own_test = ("x", "val") in arrays, ("x", "test") in arrays
        samples = self._tensor(arrays, "train")
        self._last = self._channels_last(samples)
        self._type = samples.dtype
        self._divisor = self._find_divisor(samples, standardise)
        names = self._find_names(arrays)
        self.found(self._with_channels(samples).shape[1:], names)
        if not self._own_test:
            labels = self._classes(arrays, "train").tolist()
            require_splittable([names[label] for label in labels], self.place("train"), "add x_test and y_test")
        super().__init__(standardise=standardise, **options)

    def place(self, part: str) -> str:
        """Returns the file and, where there are several, the part."""
        return str(self.file)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a part's images (N × channels × height × width) and classes (N).

        Raises:
            UserError: the file can no longer be read, or a part of it is not like the part for training.
        """
        arrays = self._read()
        if self._own_test or train:
            images, classes = self._part(arrays, "train" if train else "test")
        else:
            images, classes = self._part(arrays, "train")
        if not self._own_test:
            chosen = split_by_class(classes)[0 if train else 1].sort().values
            images, classes = images[chosen], classes[chosen]
        return images, classes

    def load_validation(self) -> tuple[Tensor, Tensor]:
        """Returns the part for validation."""
        return self._part(self._read(), "val")

    # ---------------------------------------------------------------------------------------------------- what is there

    def _read(self) -> dict[tuple[str, str], Any]:
        """Returns the arrays by what they hold (x, y or class_names) and their part."""
        found: dict[tuple[str, str], Any] = {}
        called: dict[tuple[str, str], str] = {}
        for name, array in _contents(self.file).items():
            place = _place_of(name)
            require(
                place is not None,
                f"{self.file} has the array {name}, and it is not known what that is: call arrays x and y, x_train,"
                f" y_train, x_val, y_val, x_test, y_test or {NAMES}, and leave others out.",
            )
            assert place is not None
            require(
                place not in found,
                f"{self.file} has {called.get(place)} and {name}, which both say the same: leave one of them out.",
            )
            found[place], called[place] = array, name
        return found

    def _require_pairs(self, arrays: Mapping[tuple[str, str], Any]) -> None:
        for part in PARTS:
            missing = [role for role in ("x", "y") if (role, part) not in arrays]
            if not missing or (part != "train" and len(missing) == 2):
                continue
            others = ", ".join("_".join(place).strip("_") for place in arrays) or "nothing"
            names = " and ".join(f"{role}_{part}" for role in missing)
            raise UserError(f"{self.file} has no {names}, but {others}: add {'them' if len(missing) > 1 else 'it'}.")

    def _find_names(self, arrays: Mapping[tuple[str, str], Any]) -> list[str]:
        """Returns the classes' names, as the file gives them or else as the classes for training do."""
        labels = arrays["y", "train"]
        given = arrays.get((NAMES, ""))
        if given is not None:
            names = [str(name) for name in np.asarray(given).reshape(-1).tolist()]
            require(len(set(names)) == len(names), f"{self.file} has a name twice in {NAMES}: give each class its own.")
            return names
        if _is_text(labels):
            texts = _texts(labels)
            # as a table's empty cell it says that the class is not known, and would be learned as one more
            require(
                all(text.strip() for text in texts),
                f"{self._where('y', 'train').who} has an empty text as a class: name it, or leave such samples out.",
            )
            return in_order(texts)
        numbers = _as_numbers(labels, self._where("y", "train"))
        if numbers.ndim == 2 and numbers.shape[1] > 1:  # one-hot
            return [str(k) for k in range(numbers.shape[1])]
        largest = float(numbers.max()) if numbers.numel() else 0.0
        count = int(largest) + 1 if 0 <= largest <= 1e6 else 1
        present = sorted(set(as_classes(numbers, count, self._where("y", "train")).tolist()))
        absent = sorted(set(range(count)) - set(present))
        cure = "subtract 1" if absent == [0] else f"number them without a gap, or name all of them in {NAMES}"
        require(
            not absent,
            f"{self.file} has the classes {_some(present)}, and no sample for training of class"
            f" {_some(absent)}: {cure}.",
        )
        return [str(k) for k in range(count)]

    # ------------------------------------------------------------------------------------------------------------ parts

    def _where(self, role: str, part: str) -> Source:
        name = f"{role}_{part}" if self._several else role
        return Source(f"{name} of {self.file}", "hold", f"name all classes in {NAMES}")

    @property
    def _several(self) -> bool:
        return self._own_test or self.own_validation

    def _tensor(self, arrays: Mapping[tuple[str, str], Any], part: str) -> Tensor:
        where = self._where("x", part)
        samples = _as_numbers(arrays["x", part], where)
        require(
            samples.ndim in (2, 3, 4) and samples.numel() > 0,
            f"{where.who} has the shape {tuple(samples.shape)}: give vectors (n × d), or images (n × height × width) or"
            " (n × channels × height × width).",
        )
        return samples

    def _channels_last(self, samples: Tensor) -> bool:
        if samples.ndim != 4:
            require(self.channels is None, "channels is given, but the samples have none: leave it out.")
            return False
        first, last = (samples.shape[dimension] in (1, 3) for dimension in (1, 3))
        require(
            self.channels is not None or first != last,
            f"{self.file} has images of {' × '.join(map(str, samples.shape[1:]))}, which don't say where their channels"
            " are: give channels: first, or channels: last.",
        )
        return self.channels == "last" if self.channels is not None else last

    def _find_divisor(self, samples: Tensor, standardise: bool) -> float | None:
        """Returns what values are divided by; None where they stay as they are."""
        if self.scale is not None or samples.is_floating_point() or samples.dtype == torch.bool:
            return self.scale
        if samples.dtype == torch.uint8 and samples.ndim > 2 and int(samples.max()) > WHITE // 2:
            return WHITE
        require(
            samples.ndim == 2 and standardise,
            f"{self._where('x', 'train').who} has whole numbers from {int(samples.min())} to {int(samples.max())}: give"
            f" the one that stands for 1 as scale, such as scale: {_usual_white(int(samples.abs().max()))}.",
        )
        return None

    def _with_channels(self, samples: Tensor) -> Tensor:
        if samples.ndim == 2:
            return samples[:, :, None, None]
        if samples.ndim == 3:
            return samples[:, None]
        return samples.permute(0, 3, 1, 2) if self._last else samples

    def _part(self, arrays: Mapping[tuple[str, str], Any], part: str) -> tuple[Tensor, Tensor]:
        samples = self._tensor(arrays, part)
        where = self._where("x", part)
        require(
            samples.dtype == self._type or (samples.is_floating_point() and self._type.is_floating_point),
            f"{where.who} has {_named(samples.dtype)} numbers and the part for training {_named(self._type)} ones:"
            " save both in the same way.",
        )
        images = self._with_channels(samples)
        require(
            tuple(images.shape[1:]) == self.loaded_shape,
            f"{where.who} has samples of {tuple(samples.shape[1:])}, and those for training are others"
            f" {self.loaded_shape}: give them one shape.",
        )
        classes = self._classes(arrays, part)
        require(
            len(images) == len(classes),
            f"{self.file} has {len(images)} samples and {len(classes)} classes for {_PURPOSE[part]}: give as many of"
            " both.",
        )
        images = images.float() if self.in_unit_interval else images.double()
        if self._divisor is not None:
            images = images / self._divisor
        if self.in_unit_interval and bool(images.isfinite().all()):
            low, high = (float(value) for value in images.aminmax())
            require(
                0 <= low <= high <= 1,
                f"{where.who} has pixels from {low:g} to {high:g}: bring them to [0, 1], " + _cure(low, high),
            )
        require(
            bool(images.float().isfinite().all()), f"{where.who} has NaN or infinite numbers: leave such samples out."
        )
        return images, classes

    def _classes(self, arrays: Mapping[tuple[str, str], Any], part: str) -> Tensor:
        labels, where = arrays["y", part], self._where("y", part)
        if not _is_text(labels):
            return as_classes(_as_numbers(labels, where), self.num_classes, where)
        numbers = {name: k for k, name in enumerate(self.class_names)}
        texts = _texts(labels)
        unknown = sorted(set(texts) - numbers.keys())
        require(
            not unknown,
            f"{where.who} has the class {_some(unknown)}, which is none of {_some(self.class_names)}: name the same"
            " classes in all parts.",
        )
        return torch.tensor([numbers[text] for text in texts])


_PURPOSE = {"train": "training", "val": "validation", "test": "the test"}


def _place_of(name: str) -> tuple[str, str] | None:
    """Returns what an array of a name holds, and of which part; None where the name does not say it."""
    plain = name.lower()
    if plain == NAMES:
        return NAMES, ""
    for role, words in ROLES.items():
        if plain in words:
            return role, "train"
        for part, of_part in PARTS.items():
            if any(plain in (f"{word}_{p}", f"{p}_{word}") for word in words for p in of_part):
                return role, part
    return None


def _contents(file: Path) -> dict[str, Any]:
    """Returns the arrays of a file by their names.

    Raises:
        UserError: it can't be read, is of another kind, or would run code.
    """
    kind = file.suffix.lower()
    require(kind in (".npz", ".pt", ".pth"), f"{file} is neither .npz nor .pt: save your arrays as one of them.")
    try:
        if kind == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                return {name: _member(file, archive, name) for name in archive.files}
        if zipfile.is_zipfile(file):  # whose checksums torch does not look at
            with zipfile.ZipFile(file) as archive:
                require(archive.testzip() is None, f"{file} is damaged: save it anew.")
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except UnpicklingError as error:
        raise UserError(
            f"{file} holds objects that would run code as they are read: save a dictionary of plain tensors, such as"
            ' torch.save({"x": x, "y": y}, FILE).'
        ) from error
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror or 'it is damaged'}): name another file.") from error
    except (ValueError, RuntimeError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged, or no {kind} file: save it anew.") from error
    if isinstance(content, (list, tuple)) and len(content) == 2:
        return dict(zip("xy", content, strict=True))
    require(
        isinstance(content, Mapping) and all(isinstance(name, str) for name in content),
        f"{file} holds a {type(content).__name__}: save a dictionary of tensors by their names, such as x and y.",
    )
    return dict(content)


def _member(file: Path, archive: Any, name: str) -> Any:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{name} of {file} holds Python objects, which would run code as they are read: save an array of numbers or"
            " texts, as by numpy.array(your_list, dtype=float) or dtype=str."
        ) from error


def _as_numbers(value: Any, where: Source) -> Tensor:
    """Returns an array or tensor as a tensor in its own type, or in a signed one where torch can't compute with it.

    Raises:
        UserError: it is none of real numbers.
    """
    try:
        if isinstance(value, (list, tuple)):
            value = torch.tensor(value)
        if isinstance(value, Tensor):
            found = value
        else:
            found = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where.who} holds no real numbers: save an array of numbers.") from error
    require(not found.is_complex(), f"{where.who} holds complex numbers: save an array of real ones.")
    numbers = signed(found.detach())
    require(
        found.dtype != torch.uint64 or bool((numbers >= 0).all()),
        f"{where.who} holds whole numbers of 2⁶³ and more: save them as floating-point ones.",
    )
    return numbers


def _cure(low: float, high: float) -> str:
    if low < 0:
        return "black being 0."
    if high < BARELY:
        return "as by clip(0, 1) where they lie barely beyond it."
    return f"as by scale, such as scale: {_usual_white(high)}."


def _usual_white(largest: float) -> int:
    """Returns the white of the coarsest usual scale that holds a number."""
    return next((white for white in (1, 16, 255, 4095, 65535) if largest <= white), math.ceil(largest))


def _is_text(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "US"
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(entry, str) for entry in value)


def _texts(value: Any) -> list[str]:
    texts = np.asarray(value).reshape(-1).tolist()
    return [text.decode(errors="replace") if isinstance(text, bytes) else text for text in texts]


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _some(entries: Iterable[Any]) -> str:
    """Returns the first entries in words."""
    names = [str(entry) for entry in entries]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
