"""Names that options and classes had in earlier versions."""

import pkgutil
import re

OPTIONS = {
    "EquilibriumPropagation": {"symmetric_nudge": "three_phase"},
    "NudgedPredictiveCoding": {"nudge": "beta", "random_nudge_sign": "random_beta_sign"},
}
"""New names of options by their old ones, by the class that has them; its subclasses have them too."""

CLASS_PATHS = {
    "bioplausible.benchmark.RandomImages": "bioplausible.commands.benchmark.random_images.RandomImages",
    "bioplausible.benchmark": "bioplausible.commands.benchmark",
    "bioplausible.callbacks.CompileRelaxation": "bioplausible.training.compile_relaxation.CompileRelaxation",
    "bioplausible.callbacks.checkpoint": "bioplausible.resume.checkpoint_callbacks",
    "bioplausible.callbacks.compile_relaxation": "bioplausible.training.compile_relaxation",
    "bioplausible.callbacks.stop_on_signal": "bioplausible.training.stop_on_signal",
    "bioplausible.callbacks": "bioplausible.observers",
    "bioplausible.checkpoints": "bioplausible.resume.checkpoint_files",
    "bioplausible.configured_rates": "bioplausible.resume.configured_rates",
    "bioplausible.connections": "bioplausible.network",
    "bioplausible.exact_resume": "bioplausible.resume.exact_resume",
    "bioplausible.loggers": "bioplausible.training.loggers",
    "bioplausible.report": "bioplausible.commands.report",
    "bioplausible.schedulers": "bioplausible.training.schedulers",
    "bioplausible.sweep": "bioplausible.commands.sweep",
    "bioplausible.verify": "bioplausible.commands.verify",
}
"""New paths of modules and classes by their old ones; the first that a path begins with counts."""

UNKNOWN_OPTION = re.compile(
    r"class_path '([\w.]+)':\s+(?:Option '(\w+)' is not accepted|Validation failed: Key '(\w+)' is not expected)"
)
"""How jsonargparse complains about an option that a class doesn't have: its newer versions, and its older ones."""


def old_name(complaint: str) -> tuple[str, str] | None:
    """Returns the old name that a complaint of jsonargparse is about and its new one; None where it is about none."""
    for path in re.findall(r"\bbioplausible(?:\.\w+)+", complaint):
        for old, new in CLASS_PATHS.items():
            if f"{path}.".startswith(f"{old}."):
                return path, new + path.removeprefix(old)
    for class_path, *options in UNKNOWN_OPTION.findall(complaint):
        option = "".join(options)
        for name in _names(class_path):
            if option in OPTIONS.get(name, {}):
                return option, OPTIONS[name][option]
    return None


def _names(class_path: str) -> list[str]:
    """Returns the names of a class and its base classes."""
    try:
        return [base.__name__ for base in pkgutil.resolve_name(class_path).__mro__]
    except (AttributeError, ImportError):  # a function, or no longer there
        return []
