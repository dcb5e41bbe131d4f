"""Where the package's own files lie."""

from pathlib import Path


def recipes() -> Path:
    """Returns the folder of the recipes: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
