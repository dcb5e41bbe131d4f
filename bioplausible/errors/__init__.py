"""The one exception that a user's mistake raises."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class UserError(ValueError):
    """A mistake that the user can cure: one sentence that names the cause and the cure.

    At the command line it is printed without a traceback and the exit status is 2; from Python it is raised.
    """

    latest: ClassVar[str] = ""
    """The newest one's sentence: jsonargparse passes on no more of it than its text, amid its own."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        UserError.latest = sentence


class OwnShareError(UserError):
    """A mistake in one process's share of the data: of several processes it may be the only one that finds it."""


NO_MEMORY = re.compile(r"allocate memory|not enough memory|out of memory|std::bad_alloc", re.IGNORECASE)


def refusals() -> tuple[type[Exception], ...]:
    """Returns what torch and Lightning raise of options that they don't take."""
    # only when something was raised: Lightning takes seconds to import
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return (
        ArithmeticError,
        AssertionError,
        ImportError,
        LookupError,
        MisconfigurationException,
        RuntimeError,
        TypeError,
        ValueError,
    )


@contextmanager
def user_errors(what: str, cure: str) -> Iterator[None]:
    """Turns what another library says of a user's choice into a :class:`UserError`: what happened, why, and the cure.

    Args:
        what: what could not be done.
        cure: what to change.
    """
    try:
        yield
    except UserError:
        raise
    except refusals() as error:
        if NO_MEMORY.search(str(error)):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} ({said[:300].rstrip('.')}): {cure}.") from error
