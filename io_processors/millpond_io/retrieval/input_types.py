"""The input type of a call: "query" or "document", for models that read the two in different ways."""

from typing import Any

INPUT_TYPE = "input_type"
INPUT_TYPES = ("query", "document")


def input_type(options: Any) -> str | None:
    """Return the input type in the options of a call, "query" or "document"; None if it is not specified."""
    value: str | None = getattr(options, INPUT_TYPE, None)
    return value
