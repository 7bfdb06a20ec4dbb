"""Handler of ``POST /tei/v1/embeddings``: OpenAI's route with the behavior of text-embeddings-inference."""

from typing import Any

from millpond import AsyncLLM
from millpond.types.outputs import EmbeddingOutput, EmbeddingRequestOutput, PoolingRequestOutput
from millpond_server.apis.openai.routes import embed, embeddings_response
from millpond_server.apis.tei.compute_headers import count_chars, with_compute_headers
from millpond_server.apis.tei.errors import check_inputs, check_task, render_openai_error
from millpond_server.apis.tei.routes import truncate_vector
from millpond_server.apis.tei.schemas import TeiOpenAIRequest
from millpond_server.http.call import Call

ERRORS = ("TeiOpenAIError",)  # the schemas of error bodies in the OpenAPI description
render_error = render_openai_error


@with_compute_headers(lambda request: count_chars(request.input))
async def embeddings(request: TeiOpenAIRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input. Long inputs are truncated; ``dimensions`` truncates the vectors of any model."""
    check_task(llm, "embed")
    check_inputs(request.input)
    changes: dict[str, Any] = {"dimensions": None}
    if request.truncate_prompt_tokens is None and request.truncate is None:
        changes["truncate_prompt_tokens"] = -1
    outputs = await embed(request.model_copy(update=changes), llm, call, task="embed")
    normalize = request.use_activation is not False
    truncated = [_truncate(output, request.dimensions, normalize=normalize) for output in outputs]
    return embeddings_response(truncated, request, call)


def _truncate(output: PoolingRequestOutput[Any], dimensions: int | None, *, normalize: bool) -> EmbeddingRequestOutput:
    embedding = EmbeddingOutput(truncate_vector(output.outputs.array, dimensions, normalize=normalize))
    return EmbeddingRequestOutput(**{**vars(output), "outputs": embedding})
