"""Imports that take no longer than they must."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fast_imports() -> Iterator[None]:
    """Keeps Python from looking for garbage while modules are imported, and later among what they left.

    All that modules make stays. To look through it again and again takes a quarter of the time of importing torch and
    Lightning.
    """
    collects, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
    if len(sys.modules) > known:  # else garbage that is waiting would stay, too
        gc.freeze()
