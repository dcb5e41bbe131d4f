"""Which arguments a rule was built with: when training resumes, what nobody named stays the checkpoint's."""

import inspect
from abc import ABCMeta
from typing import Any


class NotesArguments(ABCMeta):
    """Notes in each rule with which arguments it was built.

    A ``__new__`` would hide a class's options from jsonargparse.
    """

    @property
    def __signature__(cls) -> inspect.Signature:
        """The class's arguments: without it, ``inspect.signature`` and help would show those of :meth:`__call__`."""
        full = inspect.signature(cls.__init__)  # type: ignore[misc]
        return full.replace(parameters=list(full.parameters.values())[1:])

    def __call__(cls, *args: Any, **options: Any) -> Any:
        """Builds a rule."""
        rule = super().__call__(*args, **options)
        given = inspect.signature(cls.__init__).bind(rule, *args, **options)  # type: ignore[misc]
        rule.named_arguments = frozenset(given.arguments).union(options)
        return rule
