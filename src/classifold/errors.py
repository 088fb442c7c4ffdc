"""The one exception that people may cause by their settings or their data."""


class UserError(ValueError):
    """A setting or a file that its owner can mend: shown as one message, without a traceback.

    The message names the setting or file, the rule, what it got, and what to do.
    """
