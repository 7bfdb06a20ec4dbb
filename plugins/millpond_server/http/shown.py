"""Values of clients as error messages show them: bounded in length and nesting, whatever was sent."""

from reprlib import Repr

LONGEST_VALUE = 120  # characters
LONGEST_MESSAGE = 4000  # characters
DEEPEST = 4  # levels of lists and objects
ITEMS = 8  # of a list or an object

_short = Repr()
_short.maxlevel = DEEPEST
_short.maxlist = _short.maxdict = _short.maxtuple = ITEMS
_short.maxstring = _short.maxlong = _short.maxother = LONGEST_VALUE


def shown(value: object) -> str:
    """Return a short ``repr`` of a value."""
    return shortened(_short.repr(value), LONGEST_VALUE)


def shortened(text: str, most: int = LONGEST_MESSAGE) -> str:
    """Return the beginning of a text, with dots where something was left out."""
    return text if len(text) <= most else f"{text[:most]}..."
