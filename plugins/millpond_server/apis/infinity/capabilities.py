"""Capabilities of models by Infinity's names, and the statuses of Infinity's errors."""

from collections.abc import Callable, Mapping

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.common.inputs import SCHEMA_REASON
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError, error_response

INVALID_BODY_STATUS = 422
NOT_FOUND_STATUS = 404
UNKNOWN_MODEL_REASON = "unknown_model"


def _embeds(llm: AsyncLLM) -> bool:
    return not {"embed", "token_embed"}.isdisjoint(llm.supported_tasks) and not llm.model_config.embedding.sparse


def _reranks(llm: AsyncLLM) -> bool:
    return {"score", "classify"}.issubset(llm.supported_tasks)


def _classifies(llm: AsyncLLM) -> bool:
    return "classify" in llm.supported_tasks and llm.model_config.classification.num_labels > 1


def _embeds_images(llm: AsyncLLM) -> bool:
    return "embed" in llm.supported_tasks and "image" in llm.model_config.multimodal.modalities


CAPABILITIES: Mapping[str, Callable[[AsyncLLM], bool]] = {
    "embed": _embeds,
    "rerank": _reranks,
    "classify": _classifies,
    "image_embed": _embeds_images,
    "audio_embed": lambda _: False,
}


def capabilities_of(llm: AsyncLLM) -> list[str]:
    """Return the names of a model's capabilities."""
    return [name for name, is_supported in CAPABILITIES.items() if is_supported(llm)]


def check_capability(llm: AsyncLLM, call: Call, name: str, *, is_supported: bool | None = None) -> None:
    """Refuse a request for a capability that the model does not have.

    Args:
        llm: The model.
        call: The call.
        name: The name of the capability.
        is_supported: True if the model has it (default: according to ``CAPABILITIES``).

    Raises:
        ApiError: 400 with the model's capabilities.
    """
    if CAPABILITIES[name](llm) if is_supported is None else is_supported:
        return
    names = ", ".join(capabilities_of(llm)) or "none"
    message = f"ModelNotDeployedError: model=`{call.served.name}` does not support `{name}`. It supports: {names}"
    raise ApiError(400, message, parameter="model", reason="unsupported")


def render_infinity_error(error: ApiError) -> Response:
    """Return an error response with Infinity's statuses: 422 for an invalid body, 400 for an unknown model."""
    if error.reason == SCHEMA_REASON:
        error.status = INVALID_BODY_STATUS
    elif error.status == NOT_FOUND_STATUS and error.reason == UNKNOWN_MODEL_REASON:
        error.status = 400
    return error_response(error)
