"""A file of data that is given where its data module belongs."""

from pathlib import Path

from bioplausible.commands.class_names import resolved
from bioplausible.errors import UserError

OF_FILES = {".csv": "TableDataModule", ".npz": "ArraysDataModule", ".pt": "ArraysDataModule"}
"""The data module that reads a kind of file."""


def require_data_module(named: str | None) -> None:
    """Checks that what is named as data is no file or folder of data.

    Args:
        named: what a configuration has as ``data``'s class; None where it has nothing.

    Raises:
        UserError: it is one; the sentence has the options that take it.
    """
    if named is None or isinstance(resolved(named), type):  # data also has modules, such as table
        return
    cls, option = OF_FILES.get(Path(named).suffix.lower()), "file"
    if cls is None and Path(named).expanduser().is_dir():
        cls, option = "ImageFolderDataModule", "folder"
    if cls is not None:
        raise UserError(f"{named} is no data module: give it as --data {cls} --data.{option} {named}.")
