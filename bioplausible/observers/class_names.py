"""The names of the classes that a run tells apart."""

from pytorch_lightning import Trainer


def class_names(trainer: Trainer, classes: int) -> list[str]:
    """Returns the classes' names as the data module has them; their numbers where it has none.

    Args:
        trainer: the run's.
        classes: how many the network has.
    """
    names = getattr(getattr(trainer, "datamodule", None), "class_names", None) or ()
    return list(names) if len(names) == classes else [str(k) for k in range(classes)]


def named_classes(trainer: Trainer) -> list[str] | None:
    """Returns the classes' names where they say more than their numbers; None where they don't."""
    names = list(getattr(getattr(trainer, "datamodule", None), "class_names", None) or ())
    return names if names != [str(k) for k in range(len(names))] else None


def shortened(name: str, length: int = 16) -> str:
    """Returns a name that is too long for a figure with its end cut off, and without what would be set as a formula."""
    plain = name.replace("$", r"\$")
    return plain if len(name) <= length else f"{plain[: length - 1]}…"
