"""The one way Lockstep refuses what a user gave it."""


class InputError(ValueError):
    """Something the user supplied is wrong: one message, exit status 2, no traceback.

    The message states the rule, the offending name in backticks, its value and the
    way out. Each `__main__` turns it into a line on stderr and exit status 2.
    """


def unknown(thing: object, doer: str) -> InputError:
    """The refusal of a layer or machine of a kind that a function has no rule for.

    Closed by default: whoever decides by kind ends with this, never with a guess.

    >>> str(unknown(3.5, "quant.execute"))
    '`float` is a kind that quant.execute does not know; use another, or teach it there.'
    """
    return InputError(
        f"`{type(thing).__name__}` is a kind that {doer} does not know; use another, or "
        f"teach it there."
    )
