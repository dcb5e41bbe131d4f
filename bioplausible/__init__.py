"""Biologically plausible learning rules as PyTorch Lightning modules."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioplausible import data, rules
    from bioplausible.data import *  # noqa: F403
    from bioplausible.errors import UserError
    from bioplausible.rules import *  # noqa: F403
    from bioplausible.trained import load
    from bioplausible.training.schedulers import PiecewisePower, WarmupCosine

    __version__: str
    __all__ = ["PiecewisePower", "UserError", "WarmupCosine", "load"]
    __all__ += data.__all__
    __all__ += rules.__all__

_MODULES = ("data", "errors", "rules", "training.schedulers")
_PARTS = (
    *("data", "errors", "functional", "lightning_internals", "network", "observers", "resume", "rules", "trained"),
    "training",
)


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: torch takes seconds, in which Ctrl-C must find the command line ready."""
    if name in _PARTS:
        return importlib.import_module(f"bioplausible.{name}")
    if name == "__version__":
        return _version()
    if name == "load":
        return importlib.import_module("bioplausible.trained").load
    if name == "__all__":
        names = {"PiecewisePower", "UserError", "WarmupCosine", "load"}
        for module in ("data", "rules"):
            names |= set(importlib.import_module(f"bioplausible.{module}").__all__)
        return sorted(names)
    if name[:1].isupper():  # what all modules call classes; asking for another name imports nothing
        for module in _MODULES:
            found = getattr(importlib.import_module(f"bioplausible.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    """Returns the version that pip installed, which setuptools-scm took from git's tag."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # started from a folder of the files alone
        return "not installed"


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
