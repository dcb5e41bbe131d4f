"""Options of a checkpoint that were taken when it was written, and are refused today."""

import inspect
import re
from collections.abc import Container, Mapping
from typing import Any

from bioplausible.resume.kept_options import alike
from bioplausible.resume.told_callables import trusted

WHAT = re.compile(r"^.*?(?=,|:| where )")
"""The part of a sentence that says which options are wrong."""


def defaults_to_name(sentence: str, config: Mapping[str, Any], named: Container[str], rule: type) -> dict[str, Any]:
    """Returns the defaults of the options that a sentence refuses and that a checkpoint, and nobody else, gives.

    Args:
        sentence: what the rule or its optimizer says of its options.
        config: the checkpoint's configuration.
        named: the options of the rule that were named by the user.
        rule: the rule's class.

    Returns:
        Defaults by option, as ``{"optimizer.lr": 0.001}``.
    """
    given = (config.get("model") or {}).get("init_args") or {}
    found = WHAT.match(sentence)
    words = set(re.findall(r"\w+", found[0])) if found else set()
    if sentence.startswith("The optimizer's lr is") and "optimizer" not in named:
        kind = trusted((given.get("optimizer") or {}).get("class_path", ""))
        rate = kind and inspect.signature(kind).parameters["lr"].default
        return {} if rate is None else {"optimizer.lr": rate}
    defaults = {
        name: parameter.default for cls in reversed(rule.__mro__) for name, parameter in _parameters(cls).items()
    }
    wrong = [n for n in given if n in words and n not in named and n in defaults]
    return {name: defaults[name] for name in wrong if alike(given[name]) != alike(defaults[name])}


def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    if "__init__" not in vars(cls):
        return {}
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return {name: parameter for name, parameter in parameters.items() if parameter.default is not parameter.empty}
