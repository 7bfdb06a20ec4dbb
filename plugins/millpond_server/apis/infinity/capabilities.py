"""What models serve by Infinity's names, the refusal of what they do not, and the statuses of Infinity's errors."""

from collections.abc import Callable, Mapping

from starlette.responses import Response

from millpond import AsyncLLM
from millpond_server.apis.common.inputs import SCHEMA
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError, answer

BAD_FORM = 422
NOT_FOUND = 404
UNKNOWN = "unknown_model"


def _embeds(llm: AsyncLLM) -> bool:
    return not {"embed", "token_embed"}.isdisjoint(llm.supported_tasks) and not llm.model_config.embedding.sparse


def _reranks(llm: AsyncLLM) -> bool:
    return {"score", "classify"}.issubset(llm.supported_tasks)


def _classifies(llm: AsyncLLM) -> bool:
    return "classify" in llm.supported_tasks and llm.model_config.classification.num_labels > 1


def _sees(llm: AsyncLLM) -> bool:
    return "embed" in llm.supported_tasks and "image" in llm.model_config.multimodal.modalities


CAPABILITIES: Mapping[str, Callable[[AsyncLLM], bool]] = {
    "embed": _embeds,
    "rerank": _reranks,
    "classify": _classifies,
    "image_embed": _sees,
    "audio_embed": lambda _: False,
}


def capabilities_of(llm: AsyncLLM) -> list[str]:
    """What a model serves."""
    return [name for name, serves in CAPABILITIES.items() if serves(llm)]


def check_capability(llm: AsyncLLM, call: Call, name: str, *, serves: bool | None = None) -> None:
    """Refuse what a model does not serve.

    Args:
        llm: The model.
        call: The request.
        name: What is asked for.
        serves: Whether it does; by default what its capabilities say.

    Raises:
        ApiError: 400.
    """
    if CAPABILITIES[name](llm) if serves is None else serves:
        return
    there = ", ".join(capabilities_of(llm)) or "none"
    message = f"ModelNotDeployedError: model=`{call.served.name}` does not support `{name}`. It supports: {there}"
    raise ApiError(400, message, parameter="model", reason="unsupported")


def render_infinity_error(error: ApiError) -> Response:
    """Write an error with the statuses of Infinity: 422 for a body of another form, 400 for an unknown model."""
    if error.reason == SCHEMA:
        error.status = BAD_FORM
    elif error.status == NOT_FOUND and error.reason == UNKNOWN:
        error.status = 400
    return answer(error)
