"""Names of models with tags, like Ollama's: ``minilm`` and ``minilm:latest`` are the same model."""

from typing import Any

from starlette.exceptions import HTTPException

from millpond.types.errors import InvalidInputError

DEFAULT_TAG = "latest"


def with_tag(name: str) -> str:
    """Return a name with its tag; a colon before the last slash belongs to a host."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:{DEFAULT_TAG}"


def select_model(name: str, call: Any) -> Any:
    """Select the model of a request and return it; upper and lower case are equal.

    Raises:
        InvalidInputError: If the name is empty.
        HTTPException: 404 if no model has that name.
    """
    if not name:
        raise InvalidInputError("model is required", parameter="model")
    tagged = with_tag(name).lower()
    for served in call.models.served:
        if any(with_tag(other).lower() == tagged for other in served.names):
            return call.use_model(served.name)
    available = ", ".join(with_tag(other) for served in call.models.served for other in served.names)
    raise HTTPException(404, f"model {name!r} not found. Available: {available}")
