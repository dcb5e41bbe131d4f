"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """A mistake that the user can cure: one sentence that names the cause and the cure.

    At the command line it is printed without a traceback and the exit status is 2; from Python it is raised.
    """
