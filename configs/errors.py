"""The one way Lockstep refuses what a user gave it."""


class InputError(ValueError):
    """Something the user supplied is wrong: one message, exit status 2, no traceback.

    The message states the rule, the offending name in backticks, its value and the
    way out. Each `__main__` turns it into a line on stderr and exit status 2.
    """
