"""How this program was called, for hints that can be typed."""

import shlex
import shutil
import sys
from pathlib import Path


def this_program() -> str:
    """Returns the words that start this program from here, as it was started: by its name or by ``python -m``.

    A program on the search path is named alone, any other with its path.
    """
    called = Path(sys.argv[0])
    if called.name == "bioplausible" and called.is_file():
        return _typed(called, ["bioplausible"])
    return f"{_typed(Path(sys.executable), ['python', 'python3'])} -m bioplausible"


def _typed(program: Path, names: list[str]) -> str:
    for name in names:
        found = shutil.which(name)
        # not resolved: the interpreters of several environments are links to one file
        if found is not None and Path(found).absolute() == program.absolute():
            return name
    return shlex.quote(str(program))
