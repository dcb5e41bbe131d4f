"""Imports that take no longer than they must."""

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

SIGNAL = "scipy.signal"


@contextmanager
def fast_imports() -> Iterator[None]:
    """Keeps Python from looking for garbage while modules are imported, and later among what they left.

    All that modules make stays. To look through it again and again takes a quarter of the time of importing torch and
    Lightning. ``scipy.signal``, which TorchMetrics imports to give it an old name, is loaded when it is used.
    """
    _signal_later()
    collects, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
    if len(sys.modules) > known:  # else garbage that is waiting would stay, too
        gc.freeze()


class _SignalLater(ModuleType):
    """``scipy.signal`` until something of it is asked for: then it is loaded, in its place.

    With SciPy's statistics it takes a sixth of the time to the first training step, and ``fit`` uses nothing of it.
    :class:`importlib.util.LazyLoader` won't do: TorchMetrics asks at once whether it has the name ``hamming``, and
    gives it that if not.
    """

    _lock = threading.RLock()
    _begun = False

    def __getattr__(self, name: str) -> Any:
        if name == "hamming":
            return lambda *args, **options: self.windows.hamming(*args, **options)
        with self._lock:
            if type(self) is _SignalLater:  # unless another thread has loaded it meanwhile
                # the import system asks for names with underscores; the module itself, while it is loaded, for others
                if name.startswith("__") or self._begun:
                    raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
                self._load()
        return getattr(self, name)

    def _load(self) -> None:
        loader = vars(self)["__spec__"].loader
        self._begun = True
        try:
            loader.exec_module(self)
        finally:
            del self._begun
        vars(self).setdefault("hamming", self.windows.hamming)  # as TorchMetrics has it
        self.__class__ = ModuleType  # type: ignore[assignment]


def _signal_later() -> None:
    scipy = None if SIGNAL in sys.modules else find_spec("scipy")  # which imports nothing
    spec = scipy and PathFinder.find_spec(SIGNAL, scipy.submodule_search_locations)
    if spec:
        module = module_from_spec(spec)
        module.__class__ = _SignalLater
        sys.modules[SIGNAL] = module
