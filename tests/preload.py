"""What the tests' processes are forked from: one that has imported what a run imports and read a run's options once.

So they need not import the one, nor get to know the other: a sixth of a short run's time. It has trained nothing.
"""

import gc
from importlib import import_module

from bioplausible.commands.fast_imports import fast_imports

with fast_imports():
    for name in ("bioplausible.commands.command_line", "bioplausible.commands.verify.replay", "sklearn.datasets"):
        import_module(name)

from bioplausible.commands.parsed import parsed

parsed([])
gc.freeze()  # a forked process need not look through what is left of it
