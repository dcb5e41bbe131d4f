"""What the tests' processes are forked from: a process that has imported what a run imports, and has run nothing."""

from importlib import import_module

from bioplausible.commands.fast_imports import fast_imports

with fast_imports():
    for name in ("bioplausible.commands.command_line", "bioplausible.commands.verify.replay", "sklearn.datasets"):
        import_module(name)
