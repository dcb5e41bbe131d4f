"""A batch in the one form that rules take, and what other forms are converted to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bioplausible.errors import OwnShareError, UserError

IMAGE_NAMES = frozenset({"image", "images", "img", "input", "inputs", "pixel_values", "x"})
LABEL_NAMES = frozenset({"class", "classes", "label", "labels", "target", "targets", "y"})


class Batch(NamedTuple):
    """Images and classes that have been checked; :func:`as_batch` makes one of what a data loader yields."""

    images: Tensor
    """(n × channels × height × width) or another shape of as many values, floating-point."""
    labels: Tensor | None
    """Classes (n), int64; None where there are none."""


class Source(NamedTuple):
    """Where images and classes come from, for the sentence about what is wrong with them."""

    who: str
    """As ``The data loader``."""
    verb: str
    """What it does with them, as ``yield``."""
    more_classes: str = "state the right number of classes"
    """What to do where more classes are right than were said."""

    def refuse(self, what: str, cure: str) -> UserError:
        """Returns the error that says what came, and what should have."""
        kind = OwnShareError if self is LOADER else UserError
        return kind(f"{self.who} {self.verb}s {what}: let it {self.verb} {cure}.")


LOADER = Source("The data loader", "yield")


def as_batch(batch: Any, classes: int, dtype: torch.dtype) -> Batch:
    """Returns what a data loader yields as images and classes; a :class:`Batch` has been checked.

    A batch is a pair (images, classes), a dictionary of two with names such as ``image`` and ``label``, or images
    alone. Images and classes are converted as by :func:`as_images` and :func:`as_classes`.

    Args:
        batch: the batch, on a CPU if its check is not to wait for a GPU.
        classes: how many there are.
        dtype: the rule's.

    Raises:
        UserError: it is none of these, or holds pixels that are NaN or infinite or other classes.
    """
    if isinstance(batch, Batch):  # Trainer converts it for a rule in float64, but not where there is none at work
        return batch if batch.images.dtype == dtype else Batch(batch.images.to(dtype), batch.labels)
    given, labels = _fields(batch)
    images = as_images(given, dtype, LOADER)
    # a sum takes a fraction of the time of isfinite; where it overflows, all numbers may still be finite
    if not bool(images.sum().isfinite()) and (spoilt := int((~images.isfinite()).flatten(1).any(1).sum())):
        raise LOADER.refuse(
            f"a batch with NaN or infinite numbers in {spoilt} of its {len(images)} images", "finite numbers"
        )
    if labels is None:
        return Batch(images, None)
    of_images = as_classes(labels, classes, LOADER)
    if len(of_images) != len(images):
        raise LOADER.refuse(f"{len(images)} images and {len(of_images)} classes", "as many of both")
    return Batch(images, of_images)


def labelled(batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the images and the classes of a batch.

    Raises:
        UserError: it has no classes.
    """
    if batch.labels is None:
        raise LOADER.refuse("images alone", "pairs (images, classes); only predict needs no classes")
    return batch.images, batch.labels


def as_images(value: Any, dtype: torch.dtype, source: Source) -> Tensor:
    """Returns images as floating-point numbers.

    Taken are tensors, NumPy's arrays and lists of them, of any floating-point type, or of booleans, which become 0 and
    1. Integers are refused: of 0 and 1, 0 … 16 or 0 … 255 they don't say themselves which value is white.

    Args:
        value: the images (n × …).
        dtype: the type to return them in.
        source: where they come from.

    Raises:
        UserError: they are no such numbers, or there is no n.
    """
    images = _as_tensor(value)
    if images is None:
        raise source.refuse(f"images that are no array of numbers ({_kind(value)})", "a floating-point tensor")
    if images.ndim < 2:
        raise source.refuse(f"images of the shape {tuple(images.shape)}", "them as (n × channels × height × width)")
    if images.dtype != torch.bool and not images.is_floating_point():
        given = str(images.dtype).removeprefix("torch.")
        raise source.refuse(
            f"images of {given} numbers, which don't say which value is white",
            "floating-point numbers in [0, 1], as images.float() / 255 does where white is 255",
        )
    return images.to(dtype)


def as_classes(value: Any, classes: int, source: Source) -> Tensor:
    """Returns classes (n) as int64, from 0 on.

    Taken are tensors, NumPy's arrays and lists, of integers, booleans or whole floating-point numbers, of the shapes
    (n) and (n × 1), or one-hot (n × classes).

    Args:
        value: the classes.
        classes: how many there are.
        source: where they come from.

    Raises:
        UserError: they are no such numbers, or outside 0 … classes − 1.
    """
    labels = _as_tensor(value)
    if labels is None:
        raise source.refuse(f"classes that are no array of numbers ({_kind(value)})", "whole numbers from 0 on")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.shape[1] == classes:
        one = labels == 1
        if not bool((one.sum(1) == 1).all()) or not bool((one | (labels == 0)).all()):
            raise source.refuse("rows of numbers that are not one-hot in place of classes", "one class a sample")
        labels = one.long().argmax(1)
    if labels.ndim != 1:
        raise source.refuse(f"classes of the shape {tuple(labels.shape)}", f"(n), (n × 1) or one-hot (n × {classes})")
    if labels.is_floating_point() and not bool((labels.frac() == 0).all()):  # of NaN and infinity it is NaN
        raise source.refuse("classes that are no whole numbers", "whole numbers from 0 on")
    labels = labels.long()
    if not len(labels):
        return labels
    first, last = (int(value) for value in labels.aminmax())
    if first < 0 or last >= classes:
        cure = f"numbers from 0 to {classes - 1}"
        if first >= 1 and last == classes:
            cure += ", that is, subtract 1 if they count from 1"
        if first >= 0:  # no number of classes makes a label below 0 right
            cure += f", or {source.more_classes}"
        raise source.refuse(f"classes from {first} to {last}", cure)
    return labels


def signed(numbers: Tensor) -> Tensor:
    """Returns whole numbers of a type for which torch has no arithmetic as int64, and others as they are."""
    return numbers.long() if numbers.dtype in (torch.uint16, torch.uint32, torch.uint64) else numbers


def _fields(batch: Any) -> tuple[Any, Any]:
    """Returns the images and the classes, which may be None, of a batch."""
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch, None
    if isinstance(batch, Mapping):
        images, labels = ([key for key in batch if key in names] for names in (IMAGE_NAMES, LABEL_NAMES))
        if len(images) != 1 or len(labels) > 1 or len(batch) != 1 + len(labels):
            names = ", ".join(map(str, batch))
            raise LOADER.refuse(
                f"dictionaries of {names}", "pairs (images, classes), or dictionaries of image and label"
            )
        return batch[images[0]], batch[labels[0]] if labels else None
    if isinstance(batch, (list, tuple)) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    what = f"{len(batch)} fields a batch" if isinstance(batch, (list, tuple)) else f"batches of {_kind(batch)}"
    raise LOADER.refuse(what, "pairs (images, classes), or images alone to predict")


def _as_tensor(value: Any) -> Tensor | None:
    """Returns a tensor, an array or a list of either as a tensor; None where it is none of real numbers."""
    try:
        if isinstance(value, (list, tuple)) and value and all(isinstance(entry, Tensor) for entry in value):
            value = torch.stack(list(value))
        if not isinstance(value, Tensor):
            array = np.asarray(value)
            # a copy of its own, in this machine's order of bytes: other ones torch does not take
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    except (RuntimeError, TypeError, ValueError):
        return None
    return None if value.is_complex() else signed(value)


def _kind(value: Any) -> str:
    return type(value).__name__
