"""``POST /tei/v1/embeddings``: OpenAI's route as text-embeddings-inference has it."""

from typing import Any

from millpond import AsyncLLM
from millpond.types.outputs import EmbeddingOutput, EmbeddingRequestOutput, PoolingRequestOutput
from millpond_server.apis.openai.routes import embedded, told
from millpond_server.apis.tei.compute_headers import characters_in, with_compute_headers
from millpond_server.apis.tei.errors import check_inputs, check_serves, render_openai_error
from millpond_server.apis.tei.routes import cut
from millpond_server.apis.tei.schemas import TeiOpenAIRequest
from millpond_server.http.call import Call

ERRORS = ("TeiOpenAIError",)  # the bodies of its errors, by their names in the description of the routes
render_error = render_openai_error


@with_compute_headers(lambda request: characters_in(request.input))
async def embeddings(request: TeiOpenAIRequest, llm: AsyncLLM, call: Call) -> Any:
    """The vectors of a body's inputs: long ones are cut, and ``dimensions`` cuts the vectors of any model."""
    check_serves(llm, "embed")
    check_inputs(request.input)
    whole: dict[str, Any] = {"dimensions": None}
    if request.truncate_prompt_tokens is None and request.truncate is None:
        whole["truncate_prompt_tokens"] = -1
    outputs = await embedded(request.model_copy(update=whole), llm, call)
    normalize = request.use_activation is not False
    kept = [_cut(output, request.dimensions, normalize=normalize) for output in outputs]
    return told(kept, request, call)


def _cut(output: PoolingRequestOutput[Any], dimensions: int | None, *, normalize: bool) -> EmbeddingRequestOutput:
    kept = EmbeddingOutput(cut(output.outputs.array, dimensions, normalize=normalize))
    return EmbeddingRequestOutput(**{**vars(output), "outputs": kept})
