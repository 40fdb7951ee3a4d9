"""The error of a component whose input, not whose code, is at fault."""


class InputError(ValueError):
    """Data, settings or arguments are wrong.

    The message names the culprit (file, row, column or key) and the fix; it is shown to the user without a
    traceback, and the command line exits with 2.
    """
