"""The exception for mistakes in settings or data."""


class UserError(ValueError):
    """A setting or file that the user can correct: shown as one message, without a traceback.

    The message names the setting or file, what is wrong, the value, and what to do.
    """
