"""Lists with an entry a layer that are too long or too short for another network: all of them in one sentence."""

import pkgutil
import re

from jsonargparse import Namespace

from bioplausible.errors import UserError

TOLD = re.compile(r"^(\w+) has \d+ entries: give one number, or one per layer ")
"""How a rule refuses such a list (:func:`bioplausible.rules.options.per_layer`)."""
LEFT_OUT = ("optimizer", "lr_scheduler", "lr_scheduler_interval")
"""What a rule may be built without."""


def all_wrong_lengths(model: Namespace, first: str) -> str:
    """Returns what a rule says of the first such list, and of the others, which it was not yet asked about.

    Args:
        model: the rule's class and arguments.
        first: what it said.
    """
    arguments = {name: value for name, value in model.init_args.as_dict().items() if name not in LEFT_OUT}
    said, latest = [], first
    while (told := TOLD.match(latest)) and isinstance(arguments.get(told[1]), list):
        said.append(latest.removesuffix("."))
        arguments[told[1]] = arguments[told[1]][0]
        latest = ""
        try:
            pkgutil.resolve_name(model.class_path)(**arguments)
        except UserError as error:
            latest = str(error)
    return "; ".join(said) + "." if said else first
