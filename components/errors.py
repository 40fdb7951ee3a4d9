"""The errors for which not the code is at fault: the message says all that there is to know."""


class InputError(ValueError):
    """Data, settings or arguments are wrong.

    The message names the culprit (file, row, column or key) and the fix; it is shown to the user without a
    traceback, and the command line exits with 2.
    """


class LockedError(Exception):
    """Somebody else is at work in the place where this would be.

    Nothing is wrong, and nothing was done: later it may go. The command line exits with 4.
    """
